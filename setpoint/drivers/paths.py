"""Folders and files below a root of ours, by descriptors: no step follows a symlink or crosses a mount.

What containers may write to is walked only from here, so that a symlink planted inside never leads outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from setpoint.drivers import libc
from state.errors import Invalid, Unavailable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 32


def require_name(name: str, what: str) -> str:
    """``name`` if it is one component of a path. Raises: Invalid."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 255:
        raise Invalid(f"{what} {name!r} cannot be a file name")
    return name


def require_relative(path: str, what: str) -> tuple[str, ...]:
    """The components of a relative path that stays below its folder. Raises: Invalid."""
    parts = tuple(path.split("/"))
    for part in parts:
        require_name(part, what)
    return parts


@contextlib.contextmanager
def folder(path: str | os.PathLike[str], dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of the folder while the block runs; the last component may be no symlink."""
    fd = os.open(path, _FOLDER, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def ensure_folder(parent: int, name: str, mode: int = 0o755) -> int:
    """A descriptor of the real folder ``name`` in ``parent``, made when missing; anything else there is taken away first."""
    for _ in range(3):
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=parent)
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
    raise Unavailable(f"folder {name!r} is being changed by somebody else")


@contextlib.contextmanager
def chain(root: str, *names: str) -> Iterator[int]:
    """A descriptor of the folder ``root/names...`` while the block runs. Every step is a real folder of ours, made if missing:
    nobody but root may enter, since the files in them may be secret and are reached by bind mounts only."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    fd = os.open(root, _FOLDER)
    try:
        for name in names:
            inner = ensure_folder(fd, name, 0o700)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def remove_entry(parent: int, name: str) -> None:
    """Takes ``name`` and all below it away; missing is fine. Works however deep a container nested its folders.

    Raises: Unavailable naming the place when something is mounted inside; OSError.
    """
    fd = _open_or_unlink(parent, name)
    if fd is None:
        return
    try:
        # Folders nested too deep are moved up here, beside the others, and are emptied in their turn: bounded descriptors.
        waiting = os.listdir(fd)
        while waiting:
            _remove(fd, fd, waiting.pop(), 0, waiting)
    finally:
        os.close(fd)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)


def _remove(top: int, parent: int, name: str, depth: int, waiting: list[str]) -> None:
    fd = _open_or_unlink(parent, name)
    if fd is None:
        return
    try:
        if depth >= _MAX_DEPTH:
            waiting.append(f".removed-{secrets.token_hex(8)}")
            os.rename(name, waiting[-1], src_dir_fd=parent, dst_dir_fd=top)
            return
        for entry in os.listdir(fd):
            _remove(top, fd, entry, depth + 1, waiting)
    finally:
        os.close(fd)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)


def _open_or_unlink(parent: int, name: str) -> int | None:
    """The descriptor of a folder; None after anything else of that name was removed, or when there was nothing."""
    rules = libc.RESOLVE_NO_XDEV | libc.RESOLVE_NO_SYMLINKS | libc.RESOLVE_BENEATH
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return libc.openat2(parent, name, _FOLDER, rules)
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno in (errno.EXDEV, errno.EBUSY):
            raise Unavailable(f"{name} is still mounted") from exc
        raise
    return None


def mounts_below(path: str) -> list[str]:
    """Mount points at or below ``path``, deepest and newest first (``/proc/self/mountinfo``, proc_pid_mountinfo(5))."""
    found: list[str] = []
    prefix = path.rstrip("/") + "/"
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = _unescape(line.split(" ", 5)[4])
            if point == path or point.startswith(prefix):
                found.append(point)
    return found[::-1]


def unmount_below(path: str) -> None:
    """Takes every mount at or below ``path`` off; what was mounted is not touched."""
    for point in mounts_below(path):
        libc.unmount(point)


def is_mount_point(path: str) -> bool:
    """Whether something is mounted exactly there. One pair of system calls, without reading the table of mounts."""
    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        with folder(parent or "/") as fd:
            os.close(libc.openat2(fd, name, os.O_PATH | os.O_NOFOLLOW, libc.RESOLVE_NO_XDEV))
    except OSError as exc:
        if exc.errno == errno.EXDEV:
            return True
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return False


def _unescape(text: str) -> str:
    """mountinfo writes blank, tab, newline and backslash as three octal digits."""
    if "\\" not in text:
        return text
    for code in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(code, chr(int(code[1:], 8)))
    return text
