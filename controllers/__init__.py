"""What makes it so: one slice per kind over one kind-free engine.

Imports ``state`` and the standard library. Knows no library that does I/O, reads no clock, starts no thread: the world is
reached through the Protocols in each slice's ``ports``.
"""
