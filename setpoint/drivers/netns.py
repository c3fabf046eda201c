"""Pinned network namespaces (``controllers.container.ports.Sandboxes``).

One daemon thread makes them: it leaves for a new namespace, sets ``lo`` up, pins the namespace by a bind mount and comes back.
That costs 0.6 ms; a forked helper costs 3 to 5. ``/proc/1/ns/net`` may be unreadable, so the way back is a descriptor of the
thread's own namespace, opened before the first step. A thread that cannot come back is never used again.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from controllers.container.ports import Sandbox
from setpoint.drivers import libc
from setpoint.drivers.paths import require_name
from setpoint.drivers.threads import DriverThread, ThreadSpoiled
from state.errors import Unavailable

OWN_NETNS = "/proc/thread-self/ns/net"

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


class NetworkNamespaces:
    """The namespaces pinned under one folder, one file per uid.

    Owns: every file in the folder, and the mounts on them.
    """

    def __init__(self, folder: Path, thread: DriverThread | None = None) -> None:
        self._folder = folder
        self._thread = thread or DriverThread("namespaces")

    def path(self, uid: str) -> str:
        """Where the pin of ``uid`` is (or will be)."""
        return str(self._folder / require_name(uid, "uid"))

    async def ensure(self, uid: str) -> Sandbox:
        """Raises: Unavailable when the kernel refuses (no right, no more namespaces)."""
        path = self.path(uid)
        try:
            await self._thread.run(_ensure, path)
        except OSError as exc:
            raise Unavailable(f"network namespace {uid}: {exc}") from exc
        return Sandbox(uid, path)

    async def release(self, uid: str) -> None:
        path = self.path(uid)
        try:
            await self._thread.run(_release, path)
        except OSError as exc:
            raise Unavailable(f"network namespace {uid}: {exc}") from exc

    async def list(self) -> Sequence[str]:
        return await self._thread.run(_list, str(self._folder))

    def close(self) -> None:
        """Ends the thread; the pins stay."""
        self._thread.close()


def is_network_namespace(path: str) -> bool:
    """Whether ``path`` is a pinned network namespace that is not the caller's own."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # ENOTTY on anything that is no namespace at all.
        kind = fcntl.ioctl(fd, libc.NS_GET_NSTYPE)
        return kind == libc.CLONE_NEWNET and not os.path.samestat(os.fstat(fd), os.stat(OWN_NETNS))
    except OSError:
        return False
    finally:
        os.close(fd)


def _ensure(path: str) -> None:
    if is_network_namespace(path):
        return
    _make_mount_point(path)
    home = os.open(OWN_NETNS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.unshare(libc.CLONE_NEWNET)
        try:
            _set_loopback_up()
            # Last, so that a pin is never seen before its namespace is ready: a crash leaves a plain file, made again later.
            libc.mount(OWN_NETNS, path, flags=libc.MS_BIND)
        finally:
            _return_to(home)
    finally:
        os.close(home)


def _return_to(home: int) -> None:
    try:
        libc.setns(home, libc.CLONE_NEWNET)
    except OSError as exc:
        raise ThreadSpoiled(exc) from exc


def _make_mount_point(path: str) -> None:
    """An empty file at ``path`` with nothing mounted on it, whatever was there."""
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    _release(path)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o000))


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        request = struct.pack("16sH22x", b"lo", 0)
        _, flags = struct.unpack("16sH22x", fcntl.ioctl(link, _SIOCGIFFLAGS, request))
        fcntl.ioctl(link, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def _release(path: str) -> None:
    while libc.unmount(path):
        pass
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        os.rmdir(path)


def _list(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
