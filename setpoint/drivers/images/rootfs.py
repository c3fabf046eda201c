"""Files out of an image's root file system, without running anything of it.

The view is mounted in a mount namespace of a throwaway thread: nobody else ever sees it, and it is gone with the thread, also
after a crash. Every path is resolved by the kernel as if the view were the root (openat2, RESOLVE_IN_ROOT), so that a link in a
hostile image leads nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from setpoint.drivers import libc
from setpoint.drivers.containerd.images import ImageStore
from setpoint.drivers.paths import folder
from setpoint.drivers.threads import DisposableThreads
from state.errors import Invalid, Unavailable

T = TypeVar("T")

MAX_TEXT_BYTES = 4 << 20
READ_LIMIT_S = 30.0
COPY_LIMIT_S = 1800.0
MAX_DEPTH = 200
CACHED_TEXTS = 256
ACCOUNTS = ("etc/passwd", "etc/group")

# mount(2) takes its options in one page; overlayfs' list of lower folders is the only one that grows.
_MAX_OPTIONS = 4000

_FLAGS = {
    "ro": libc.MS_RDONLY,
    "nosuid": libc.MS_NOSUID,
    "nodev": libc.MS_NODEV,
    "noexec": libc.MS_NOEXEC,
    "bind": libc.MS_BIND,
    "rbind": libc.MS_BIND | libc.MS_REC,
}


class RootFiles:
    """Reads from unpacked images by chain id."""

    def __init__(self, store: ImageStore, mount_point: Path, threads: DisposableThreads | None = None) -> None:
        """``mount_point``: an empty folder of ours; nothing is ever seen mounted there."""
        self._store = store
        self._mount_point = mount_point
        self._threads = threads or DisposableThreads("images")
        self._texts: OrderedDict[str, tuple[str, str]] = OrderedDict()

    async def accounts(self, chain_id: str) -> tuple[str, str]:
        """The texts of ``/etc/passwd`` and ``/etc/group``; empty where there is none. Kept, since a chain id names content."""
        if chain_id not in self._texts:
            self._texts[chain_id] = await self._look(chain_id, f"accounts of {chain_id}", _read_accounts, READ_LIMIT_S)
        self._texts.move_to_end(chain_id)
        while len(self._texts) > CACHED_TEXTS:
            self._texts.popitem(last=False)
        return self._texts[chain_id]

    async def copy_out(self, chain_id: str, path: str, target: str) -> None:
        """What the image has in the folder ``path`` is in the empty folder ``target`` too, which takes over its mode and owner.
        Nothing happens when the image has no such folder.

        Raises: Unavailable when the disk is full or the image cannot be read.
        """
        if chain_id:
            job = _Copy(path, target)
            await self._look(chain_id, f"copy to {target}", job, COPY_LIMIT_S)

    async def _look(self, chain_id: str, key: str, job: Callable[[int], T], limit_s: float) -> T:
        async with self._view(chain_id) as mount:
            return await self._threads.run(key, lambda: _in_view(mount, str(self._mount_point), job), limit_s)

    @contextlib.asynccontextmanager
    async def _view(self, chain_id: str) -> AsyncIterator[_Mount]:
        key = f"setpoint-view-{uuid4()}"
        # The lease keeps the view, which nothing refers to, from garbage collection, and lets it go after a crash.
        async with self._store.leased() as held:
            mounts = await held.view(key, chain_id)
            try:
                if len(mounts) != 1:
                    raise Unavailable(f"a snapshot of {len(mounts)} mounts cannot be read")
                yield mounts[0].type, mounts[0].source, tuple(mounts[0].options)
            finally:
                await held.drop_view(key)


_Mount = tuple[str, str, tuple[str, ...]]


def _in_view(mount: _Mount, mount_point: str, job: Callable[[int], T]) -> T:
    """What ``job(root)`` returns, with the view as ``root``. The thread is spoiled for anything else."""
    try:
        os.makedirs(mount_point, mode=0o700, exist_ok=True)
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
        _mount(mount, mount_point)
        with folder(mount_point) as root:
            return job(root)
    except OSError as exc:
        raise Unavailable(f"image: {exc}") from exc


def _mount(mount: _Mount, target: str) -> None:
    fstype, source, given = mount
    flags, rest = 0, []
    for option in given:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option not in ("rw", ""):
            rest.append(option)
    options = ",".join(rest)
    if len(options) > _MAX_OPTIONS:
        options = _shortened(rest)
    libc.mount(source, target, "" if flags & libc.MS_BIND else fstype, flags, options)


def _shortened(options: Sequence[str]) -> str:
    """Lower folders relative to what they have in common, after going there: this thread's working folder is its own."""
    lower = next((option for option in options if option.startswith("lowerdir=")), "")
    paths = lower.removeprefix("lowerdir=").split(":")
    base = os.path.commonpath(paths)
    os.chdir(base)
    short = "lowerdir=" + ":".join(os.path.relpath(path, base) for path in paths)
    return ",".join(short if option is lower else option for option in options)


def _read_accounts(root: int) -> tuple[str, str]:
    passwd, group = (_text(root, path) for path in ACCOUNTS)
    return passwd, group


def _text(root: int, path: str) -> str:
    try:
        fd = libc.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK, libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return ""
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return os.pread(fd, MAX_TEXT_BYTES, 0).decode(errors="replace")
    finally:
        os.close(fd)


class _Copy:
    """Copies one folder of the view to ``target``, which the thread's own mounts show as everybody's do."""

    def __init__(self, path: str, target: str) -> None:
        self._path = path
        self._target_path = target
        self._target = -1
        self._links: dict[tuple[int, int], str] = {}

    def __call__(self, root: int) -> None:
        source = self._source(root)
        if source is None:
            return
        try:
            with folder(self._target_path) as self._target:
                self._folder(source, self._target, "", 0)
        finally:
            os.close(source)

    def _source(self, root: int) -> int | None:
        flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            return libc.openat2(root, self._path, flags, libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    def _folder(self, source: int, target: int, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Invalid(f"the image nests folders deeper than {MAX_DEPTH}")
        for name in os.listdir(source):
            info = os.stat(name, dir_fd=source, follow_symlinks=False)
            self._entry(source, target, name, info, f"{path}{name}", depth)
        _take_rights(source, target)

    def _entry(self, source: int, target: int, name: str, info: os.stat_result, path: str, depth: int) -> None:
        identity = (info.st_dev, info.st_ino)
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            with folder(name, source) as inner, folder(name, target) as made:
                self._folder(inner, made, f"{path}/", depth + 1)
        elif stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
        elif identity in self._links:
            os.link(self._links[identity], name, src_dir_fd=self._target, dst_dir_fd=target, follow_symlinks=False)
        else:
            if stat.S_ISREG(info.st_mode):
                _copy_file(source, target, name)
            else:
                _copy_node(target, name, info)
            if info.st_nlink > 1:
                self._links[identity] = path


def _copy_file(source: int, target: int, name: str) -> None:
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        write = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(write, read, None, 1 << 24):  # None: from where it stands
                pass
            _take_rights(read, write)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy_node(target: int, name: str, info: os.stat_result) -> None:
    """A FIFO, socket or device of the image; what it may do is the business of the container's device rules."""
    os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
    os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target)


def _take_rights(source: int, target: int) -> None:
    """Owner, extended attributes, mode and times, in the order in which none undoes another."""
    info = os.fstat(source)
    os.fchown(target, info.st_uid, info.st_gid)
    for name in os.listxattr(source):
        # File systems take different ones (no trusted.overlay.* here, no acl there); what can be kept is kept.
        with contextlib.suppress(OSError):
            os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
