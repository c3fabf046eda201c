"""The few Linux calls that Python 3.11 lacks, by ctypes on the C library. Every failure is an OSError with its path.

Sources: unshare(2), setns(2), mount(2), umount2(2), openat2(2), ioctl_ns(2).
"""

from __future__ import annotations

import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# ioctl_ns(2): which kind of namespace a file of nsfs is.
NS_GET_NSTYPE = 0xB703

# The same number on every architecture, since openat2 is younger than the shared table (Linux 5.6).
_SYS_OPENAT2 = 437

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def unshare(flags: int) -> None:
    """Gives the calling thread namespaces of its own."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread into the namespace that ``fd`` stands for."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); empty strings are passed as null pointers."""
    result = _libc.mount(
        os.fsencode(source) or None,
        os.fsencode(target),
        os.fsencode(fstype) or None,
        ctypes.c_ulong(flags),
        os.fsencode(options) or None,
    )
    _check(result, target)


def unmount(target: str, flags: int = MNT_DETACH | UMOUNT_NOFOLLOW) -> bool:
    """Takes the topmost mount off ``target``; False when none was there (or no ``target``)."""
    try:
        _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), target)
    except OSError as exc:
        if exc.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Opens ``path`` below ``dir_fd`` by the rules of ``resolve``; the descriptor is closed on exec.

    Raises: OSError EXDEV or ELOOP when a rule forbids the way there.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(dir_fd),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        # EAGAIN: the kernel could not prove the answer because of a rename next door; openat2(2) says to try again.
        if fd >= 0 or ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    _check(fd, path)
    return int(fd)


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
