"""Folders that live as long as their object: on disk, or a tmpfs each. All of it runs in the thread of the files driver."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from controllers.container.ports import EmptyDir
from setpoint.drivers import libc
from setpoint.drivers.paths import chain, ensure_folder, is_mount_point, remove_entry, unmount_below

EMPTYDIR_MODE = 0o777
"""Anybody in the container may write, whatever its user is (as the kubelet makes them)."""


def begin(containers: str, uid: str, empty: EmptyDir) -> bool:
    """True when the folder is new: fill it, then call ``finish``. A mark tells a half-filled one, which is made again."""
    path = f"{containers}/{uid}/emptydirs/{empty.name}"
    with chain(containers, uid, "emptydirs") as parent, chain(containers, uid, "filling") as marks:
        if _exists(marks, empty.name):
            unmount_below(path)
            remove_entry(parent, empty.name)
        elif _is_kept(parent, path, empty):
            return False
        os.close(os.open(empty.name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=marks))
        os.close(ensure_folder(parent, empty.name, EMPTYDIR_MODE))
        if empty.medium == "Memory":
            libc.mount("tmpfs", path, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, _tmpfs_options(EMPTYDIR_MODE, empty.size_bytes))
        os.chmod(path, EMPTYDIR_MODE)  # mkdir obeys the umask
    return True


def finish(containers: str, uid: str, name: str) -> None:
    with chain(containers, uid, "filling") as marks, contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=marks)


def _is_kept(parent: int, path: str, empty: EmptyDir) -> bool:
    mounted = is_mount_point(path)
    if empty.medium == "Memory":
        if mounted:
            resize_tmpfs(path, empty.size_bytes)
        return mounted
    if mounted:
        unmount_below(path)
    try:
        return stat.S_ISDIR(os.stat(empty.name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def keep_shm(root: str, uid: str, size_bytes: int) -> None:
    """A tmpfs with the rights of ``/dev/shm`` at ``root/uid``."""
    path = f"{root}/{uid}"
    with chain(root) as parent:
        os.close(ensure_folder(parent, uid, 0o700))
    if is_mount_point(path):
        resize_tmpfs(path, size_bytes)
        return
    flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("shm", path, "tmpfs", flags, _tmpfs_options(0o1777, size_bytes))


def keep_volatile(root: str, uid: str) -> None:
    """A tmpfs for secrets at ``root/uid``, never written to swap where the kernel can promise that (Linux 6.4)."""
    path = f"{root}/{uid}"
    with chain(root) as parent:
        os.close(ensure_folder(parent, uid, 0o700))
    if is_mount_point(path):
        return
    flags = libc.MS_NOSUID | libc.MS_NODEV
    try:
        libc.mount("tmpfs", path, "tmpfs", flags, "mode=0700,noswap")
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        libc.mount("tmpfs", path, "tmpfs", flags, "mode=0700")


def resize_tmpfs(path: str, size_bytes: int) -> None:
    """Gives a mounted tmpfs another size; the kernel refuses (EINVAL) one that is too small for what it holds."""
    info = os.statvfs(path)
    page = info.f_frsize
    wanted = (size_bytes + page - 1) // page * page
    if size_bytes and info.f_blocks * page != wanted:
        kept = (libc.MS_NOEXEC if info.f_flag & os.ST_NOEXEC else 0) | libc.MS_NOSUID | libc.MS_NODEV
        libc.mount("", path, "", libc.MS_REMOUNT | kept, f"size={wanted}")


def _tmpfs_options(mode: int, size_bytes: int) -> str:
    return f"mode={mode:04o}" + (f",size={size_bytes}" if size_bytes else "")


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
