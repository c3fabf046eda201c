"""What should be, and what was seen: records and stores.

Lowest layer: imports neither ``controllers`` nor ``setpoint``, reads no clock, and touches nothing of the node
but its own files.
"""
