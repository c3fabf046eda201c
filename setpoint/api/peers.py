"""Who is at the other end of the unix socket, and may he be there.

The socket's mode (0660, root and one group) already keeps others out; this is the second lock, for a file mode that
somebody changed. The kernel tells both identities as of ``connect``: ``SO_PEERCRED`` (unix(7)) and, unlike reading
``/proc/<pid>/status``, which may meanwhile be another process's, ``SO_PEERGROUPS`` (Linux 4.13).
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_SO_PEERGROUPS = 59
_UCRED = struct.Struct("iII")
_GID = struct.Struct("I")
_MOST_BYTES = 1024
"""What Python's ``getsockopt`` can take: 256 groups."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A process as it was when it connected. Numbers are those of our user namespace."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()

    def may_use(self, group: int | None) -> bool:
        """Root may, and so may members of the socket's group."""
        return self.uid == 0 or (group is not None and (self.gid == group or group in self.groups))


class HasSockopt(Protocol):
    """The part of a socket that is needed; asyncio's ``TransportSocket`` has it too."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def peer_of(sock: HasSockopt) -> Peer:
    """The peer of a connected AF_UNIX stream socket."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, gid, _groups(sock, pid, uid) if uid else frozenset())


def _groups(sock: HasSockopt, pid: int, uid: int) -> frozenset[int]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError as exc:
        if exc.errno == errno.ERANGE:
            return _groups_of(pid, uid)
        if exc.errno in (errno.ENOPROTOOPT, errno.EINVAL):
            return frozenset()
        raise
    return frozenset(gid for (gid,) in _GID.iter_unpack(raw))


def _groups_of(pid: int, uid: int) -> frozenset[int]:
    """As ``/proc`` tells them now, if the process still is that user's."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return frozenset()
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if str(uid) not in rows.get("Uid", "").split():
        return frozenset()
    return frozenset(int(gid) for gid in rows.get("Groups", "").split())
