"""Files and folders under our data and run folders that containers see (``controllers.container.ports.NodeFiles``).

Layout, per uid::

    DATA_DIR/containers/<uid>/trees/<name>/      keep_tree           ..data -> ..<random>, <file> -> ..data/<file>
    DATA_DIR/containers/<uid>/files/<name>       keep_file           rewritten in place
    DATA_DIR/containers/<uid>/emptydirs/<name>/  keep_emptydir       a tmpfs is mounted there for the medium "Memory"
    RUN_DIR/volatile/<uid>/<name>/               keep_tree(volatile) one tmpfs per uid, never swapped where the kernel can
    RUN_DIR/shm/<uid>/                           keep_shm            a tmpfs

All of it is made and kept by one daemon thread; paths of others are asked, and whole folders removed, in disposable ones.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from controllers.container.ports import EmptyDir, FileTree
from setpoint.drivers import emptydirs, trees
from setpoint.drivers.paths import chain, remove_entry, require_name, unmount_below
from setpoint.drivers.threads import DisposableThreads, DriverThread
from state.errors import Invalid, Unavailable

T = TypeVar("T")

Kind = Literal["tree", "volatile", "file", "emptydir", "shm"]
Found = Literal["", "File", "Directory", "Socket", "CharDevice", "BlockDevice", "Other"]

Seeder = Callable[[str, str, str], Awaitable[None]]
"""``seed(chain_id, path, target)``: copies what an image has at ``path`` into the folder ``target``, with mode and owner."""

PROBE_LIMIT_S = 2.0
REMOVE_LIMIT_S = 30.0

_KINDS: tuple[tuple[int, Found], ...] = (
    (stat.S_IFREG, "File"),
    (stat.S_IFDIR, "Directory"),
    (stat.S_IFSOCK, "Socket"),
    (stat.S_IFCHR, "CharDevice"),
    (stat.S_IFBLK, "BlockDevice"),
)


class Files:
    """Keeps what containers see of our folders.

    Owns: everything in the folders named in this module's docstring, and every mount in them.
    """

    def __init__(
        self,
        data_dir: Path,
        run_dir: Path,
        *,
        seed: Seeder | None = None,
        thread: DriverThread | None = None,
        others: DisposableThreads | None = None,
    ) -> None:
        self._containers = str(data_dir / "containers")
        self._volatile = str(run_dir / "volatile")
        self._shm = str(run_dir / "shm")
        self._seed = seed
        self._thread = thread or DriverThread("files")
        self._others = others or DisposableThreads("paths")
        # A container may leave millions of files: taking them away must not hold up the start of another one.
        self._removals = DisposableThreads("removals", limit=4)

    def path(self, uid: str, kind: Kind, name: str) -> str:
        """Raises: Invalid when ``uid`` or ``name`` is no file name."""
        require_name(uid, "uid")
        if kind == "shm":
            return f"{self._shm}/{uid}"
        require_name(name, f"{kind} name")
        if kind == "volatile":
            return f"{self._volatile}/{uid}/{name}"
        return f"{self._containers}/{uid}/{kind}s/{name}"

    async def keep_tree(self, uid: str, tree: FileTree) -> None:
        """Raises: Invalid for a name that leads elsewhere, Unavailable when the disk refuses."""
        self.path(uid, "tree", tree.name)
        trees.check(tree)
        await self._run(self._keep_tree, uid, tree)

    async def keep_file(self, uid: str, name: str, content: bytes, mode: int = 0o644) -> None:
        self.path(uid, "file", name)
        await self._run(_keep_file, self._containers, uid, name, content, mode)

    async def keep_emptydir(self, uid: str, empty: EmptyDir) -> None:
        """Raises: Unavailable when the image to copy from cannot be read; the next call begins anew."""
        path = self.path(uid, "emptydir", empty.name)
        if empty.medium not in ("", "Memory"):
            raise Invalid(f"emptyDir {empty.name}: medium {empty.medium!r} is unknown, there are '' and 'Memory'")
        if not await self._run(emptydirs.begin, self._containers, uid, empty):
            return
        if empty.seed is not None:
            if self._seed is None:
                raise Unavailable(f"emptyDir {empty.name}: there is no reader of images here")
            await self._seed(*empty.seed, path)
        await self._run(emptydirs.finish, self._containers, uid, empty.name)

    async def keep_shm(self, uid: str, size_bytes: int) -> None:
        self.path(uid, "shm", "")
        await self._run(emptydirs.keep_shm, self._shm, uid, size_bytes)

    async def probe(self, path: str) -> Found:
        return await self._others.run(path, lambda: _probe(path), PROBE_LIMIT_S)

    async def remove(self, uid: str) -> None:
        """Raises: Unavailable when it is not done in 30 s; it goes on meanwhile, and so does everybody else."""
        require_name(uid, "uid")
        roots = (self._volatile, self._shm, self._containers)
        try:
            await self._removals.run(f"removal of the files of {uid}", lambda: _remove(roots, uid), REMOVE_LIMIT_S)
        except OSError as exc:
            raise Unavailable(f"files: {exc}") from exc

    async def list(self) -> Sequence[str]:
        return await self._run(_list, (self._containers, self._volatile, self._shm))

    def close(self) -> None:
        """Ends the thread; the files stay."""
        self._thread.close()

    def _keep_tree(self, uid: str, tree: FileTree) -> None:
        if tree.volatile:
            emptydirs.keep_volatile(self._volatile, uid)
        root, *names = (self._volatile, uid) if tree.volatile else (self._containers, uid, "trees")
        with chain(root, *names) as parent:
            trees.keep(parent, tree)

    async def _run(self, job: Callable[..., T], *args: Any) -> T:
        try:
            return await self._thread.run(job, *args)
        except OSError as exc:
            raise Unavailable(f"files: {exc}") from exc


def _keep_file(containers: str, uid: str, name: str, content: bytes, mode: int) -> None:
    with chain(containers, uid, "files") as parent:
        fd = _open_regular(parent, name)
        try:
            if os.fstat(fd).st_size != len(content) or os.pread(fd, len(content) + 1, 0) != content:
                _rewrite(fd, content)
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
                os.fchmod(fd, mode)
        finally:
            os.close(fd)


def _rewrite(fd: int, content: bytes) -> None:
    """In place, since a bind mount shows the inode; the end is cut last, so that no reader finds the file empty."""
    done = 0
    while done < len(content):
        done += os.pwrite(fd, content[done:], done)
    os.ftruncate(fd, len(content))


def _open_regular(parent: int, name: str) -> int:
    """A regular file of that name to read and write; anything else there is taken away."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    except OSError as exc:
        if exc.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    remove_entry(parent, name)
    return os.open(name, flags | os.O_EXCL, 0o600, dir_fd=parent)


def _probe(path: str) -> Found:
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as exc:
        # A dead mount answers with an error of its own (EIO, ESTALE, ENOTCONN): that is not "nothing there".
        if exc.errno == errno.ELOOP:
            return ""
        raise Unavailable(f"{path}: {os.strerror(exc.errno or 0)}") from exc
    except ValueError as exc:
        raise Invalid(f"{path!r} is no path") from exc
    return next((name for kind, name in _KINDS if stat.S_IFMT(mode) == kind), "Other")


def _remove(roots: Sequence[str], uid: str) -> None:
    for root in roots:
        if os.path.isdir(root):
            unmount_below(f"{root}/{uid}")
            with chain(root) as parent:
                remove_entry(parent, uid)


def _list(roots: Sequence[str]) -> list[str]:
    found: set[str] = set()
    for root in roots:
        if os.path.isdir(root):
            found.update(os.listdir(root))
    return sorted(found)
