"""How much may run at once; pure."""

from __future__ import annotations


def limit_by_files(wanted: int, rlimit_nofile: int, *, reserved: int = 256, per_pass: int = 16) -> int:
    """As many concurrent passes as the process's file descriptors allow, at most ``wanted``, at least 1. ``reserved``: kept for
    databases, sockets, watches and clients; ``per_pass``: what one pass may hold open (pipes, FIFOs, namespaces)."""
    if wanted < 1:
        raise ValueError("at least one pass must be wanted")
    if rlimit_nofile < 0:  # RLIM_INFINITY
        return wanted
    return max(1, min(wanted, (rlimit_nofile - reserved) // per_pass))
