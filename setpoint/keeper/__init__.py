"""What outlives the agent: a supervisor (``main``) over the private containerd and the log pump (``pump``).

Standard library only, no asyncio: two processes of this package run on every node for as long as it is up, and their
memory is the node's. Nothing here may import the agent, a driver, or a library from an index.
"""
