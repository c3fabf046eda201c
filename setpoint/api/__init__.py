"""The Kubernetes-style REST API on the agent's unix socket.

Handlers translate HTTP into :class:`state.store.Store` and :mod:`setpoint.api.operations`, and nothing else: what an object
means is decided by admission in the store, what a node does by the agent. Bodies come out of the store as bytes and are
served as they are.
"""
