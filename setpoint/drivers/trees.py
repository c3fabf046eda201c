"""A folder of small files, changed as a whole (the scheme of Kubernetes' atomic writer, with its names)::

    <tree>/..data        -> ..5f0c0a7be1d2c3a4   swapped by one rename: readers see all old or all new
    <tree>/..5f0c.../    the files themselves
    <tree>/app.conf      -> ..data/app.conf      one link per top-level name, made once

Nothing is trusted to be as it was left: the content is read again and compared each time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

from controllers.container.ports import FileTree
from setpoint.drivers.paths import ensure_folder, remove_entry, require_relative
from state.errors import Invalid

DATA = "..data"
_DATA_NEXT = "..data_tmp"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def check(tree: FileTree) -> None:
    """Raises: Invalid when a file's path leads outside, clashes with the tree's own names or with another file's folder."""
    for path in tree.files:
        parts = require_relative(path, "file path")
        if parts[0].startswith(".."):
            raise Invalid(f"file path {path!r} may not begin with '..'")
        for length in range(1, len(parts)):
            if "/".join(parts[:length]) in tree.files:
                raise Invalid(f"file path {path!r} needs a folder where there is to be a file")


def keep(parent: int, tree: FileTree) -> None:
    """``tree.name`` in the open folder ``parent`` holds exactly ``tree.files``; writes only what differs."""
    root = ensure_folder(parent, tree.name, tree.mode)
    try:
        _set_rights(root, tree.mode, tree.owner)
        current = _current(root)
        if current is None or not _holds(root, current, tree):
            current = _write(root, tree)
            _point(root, DATA, current)
        _keep_links(root, tree, current)
    finally:
        os.close(root)


def _current(root: int) -> str | None:
    """The folder that ``..data`` leads to, if it leads to one of ours."""
    try:
        target = os.readlink(DATA, dir_fd=root)
    except OSError:
        return None
    return target if target.startswith("..") and target not in ("..", DATA) and "/" not in target else None


def _holds(root: int, current: str, tree: FileTree) -> bool:
    try:
        fd = os.open(current, _FOLDER, dir_fd=root)
    except OSError:
        return False
    try:
        return _same_folder(fd, "", tree) == len(tree.files)
    except OSError:
        return False
    finally:
        os.close(fd)


def _same_folder(fd: int, prefix: str, tree: FileTree) -> int:
    """How many files at and below ``fd`` are as said; -1 as soon as one thing is not."""
    if not _has_rights(os.fstat(fd), tree.mode, tree.owner):
        return -1
    same = 0
    for name in os.listdir(fd):
        path = prefix + name
        if path in tree.files:
            found = 1 if _same_file(fd, name, *tree.files[path], tree.owner) else -1
        elif any(other.startswith(path + "/") for other in tree.files):
            inner = os.open(name, _FOLDER, dir_fd=fd)
            try:
                found = _same_folder(inner, path + "/", tree)
            finally:
                os.close(inner)
        else:
            found = -1
        if found < 0:
            return -1
        same += found
    return same


def _same_file(folder: int, name: str, content: bytes, mode: int, owner: tuple[int, int]) -> bool:
    fd = os.open(name, _READ, dir_fd=folder)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size != len(content) or not _has_rights(info, mode, owner):
            return False
        return os.pread(fd, len(content) + 1, 0) == content
    finally:
        os.close(fd)


def _write(root: int, tree: FileTree) -> str:
    """All files in a new folder beside the old one; returns its name."""
    name = f"..{secrets.token_hex(8)}"
    os.mkdir(name, 0o700, dir_fd=root)
    fd = os.open(name, _FOLDER, dir_fd=root)
    try:
        for path, (content, mode) in tree.files.items():
            _write_below(fd, path.split("/"), content, mode, tree)
        _set_rights(fd, tree.mode, tree.owner)
    finally:
        os.close(fd)
    return name


def _write_below(folder: int, parts: list[str], content: bytes, mode: int, tree: FileTree) -> None:
    if len(parts) == 1:
        fd = os.open(parts[0], _NEW, 0o600, dir_fd=folder)
        with open(fd, "wb", buffering=0) as file:
            _write_all(fd, content)
            _set_rights(file.fileno(), mode, tree.owner)
        return
    inner = ensure_folder(folder, parts[0], 0o700)
    try:
        _write_below(inner, parts[1:], content, mode, tree)
        _set_rights(inner, tree.mode, tree.owner)
    finally:
        os.close(inner)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _point(root: int, name: str, target: str) -> None:
    """The link ``name`` leads to ``target`` afterwards; readers see the old one or the new one."""
    remove_entry(root, _DATA_NEXT)
    os.symlink(target, _DATA_NEXT, dir_fd=root)
    try:
        os.rename(_DATA_NEXT, name, src_dir_fd=root, dst_dir_fd=root)
    except OSError as exc:
        if exc.errno not in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            raise
        remove_entry(root, name)
        os.rename(_DATA_NEXT, name, src_dir_fd=root, dst_dir_fd=root)


def _keep_links(root: int, tree: FileTree, current: str) -> None:
    tops = {path.split("/", 1)[0] for path in tree.files}
    for top in sorted(tops):
        if _link(root, top) != f"{DATA}/{top}":
            _point(root, top, f"{DATA}/{top}")
    for name in os.listdir(root):
        if name not in tops and name not in (DATA, current):
            remove_entry(root, name)


def _link(root: int, name: str) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(name, dir_fd=root)
    return None


def _has_rights(info: os.stat_result, mode: int, owner: tuple[int, int]) -> bool:
    return stat.S_IMODE(info.st_mode) == mode and (info.st_uid, info.st_gid) == owner


def _set_rights(fd: int, mode: int, owner: tuple[int, int]) -> None:
    info = os.fstat(fd)
    # The owner first: changing it clears the set-id bits of a mode.
    if (info.st_uid, info.st_gid) != owner:
        os.fchown(fd, *owner)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)
