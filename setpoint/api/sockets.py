"""The unix socket: made for root and one group, and never taken from somebody who listens on it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

BACKLOG = 1024
"""Connections not yet accepted. With a full queue a unix socket refuses at once (EAGAIN): a crowd that comes back after a
restart must fit in."""
_PATH_MAX = 107
"""``sun_path`` has 108 bytes with its final zero (unix(7))."""


class SocketTaken(Exception):
    """Somebody listens there already, or something that is no socket is in the way."""


def listen_unix(path: Path, *, group: int | None = None) -> socket.socket:
    """A listening socket at ``path``, mode 0660, owner root and ``group`` (None: root's own).

    A socket file that nobody listens on, left by an agent that was killed, is replaced.
    """
    if len(os.fsencode(path)) > _PATH_MAX:
        raise SocketTaken(f"{path}: a socket's path may have {_PATH_MAX} bytes")
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Nobody can connect before listen(), so mode and owner are right before the first client.
        sock.bind(os.fspath(path))
        os.chown(path, 0 if os.geteuid() == 0 else -1, -1 if group is None else group)
        path.chmod(0o660)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _clear_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketTaken(f"{path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (TimeoutError, BlockingIOError):
            pass
    raise SocketTaken(f"{path}: another agent listens there")
