"""Files keeps the contract of NodeFiles on the real kernel."""

# ruff: noqa: ASYNC240 - the tests look at the disk, and nothing else runs in their loop
from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from controllers.container.ports import EmptyDir, FileTree
from setpoint.drivers import files as driver
from setpoint.drivers import libc, paths
from setpoint.drivers.files import Files
from setpoint.drivers.paths import is_mount_point, mounts_below
from setpoint.testing.node_contract import OTHER, UID, FilesContract
from state.errors import Unavailable

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class SeenOnDisk:
    """Looks with plain calls, as a container would."""

    def __init__(self, files: Files, host: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
        self._files = files
        self._host = host
        self._gate = gate
        self._patch = monkeypatch

    def tree(self, uid: str, kind: Literal["tree", "volatile"], name: str) -> dict[str, tuple[bytes, int]] | None:
        root = Path(self._files.path(uid, kind, name))
        if not root.is_dir():
            return None
        found: dict[str, tuple[bytes, int]] = {}
        for top in os.listdir(root):
            if top.startswith(".."):
                continue
            for folder, _, names in os.walk(root / top, followlinks=True):
                found |= {os.path.relpath(f"{folder}/{n}", root): _content(Path(folder, n)) for n in names}
            if (root / top).is_file():
                found[top] = _content(root / top)
        return found

    def file(self, uid: str, name: str) -> tuple[bytes, int] | None:
        path = Path(self._files.path(uid, "file", name))
        return _content(path) if path.is_file() else None

    def emptydir(self, uid: str, name: str) -> str | None:
        path = Path(self._files.path(uid, "emptydir", name))
        if not path.is_dir():
            return None
        assert stat.S_IMODE(path.stat().st_mode) == 0o777
        return "Memory" if is_mount_point(str(path)) else ""

    def shm_size(self, uid: str) -> int | None:
        path = self._files.path(uid, "shm", "")
        if not is_mount_point(path):
            return None
        info = os.statvfs(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o1777
        return info.f_blocks * info.f_frsize

    def put_on_host(self, found: str) -> str:
        path = self._host / (found or "nothing")
        if found == "File":
            path.touch()
        elif found == "Directory":
            path.mkdir()
        elif found == "Socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        elif found == "Other":
            os.mkfifo(path)
        elif found:
            kind = stat.S_IFCHR if found == "CharDevice" else stat.S_IFBLK
            os.mknod(path, 0o600 | kind, os.makedev(1, 3))
        return str(path)

    def hang(self) -> str:
        """No dead network mount is at hand, so the one call that would hang in the kernel hangs on a gate."""
        real = driver._probe

        def probe(path: str) -> driver.Found:
            if path == "/dead":
                self._gate.wait()
            return real(path)

        self._patch.setattr(driver, "_probe", probe)
        self._patch.setattr(driver, "PROBE_LIMIT_S", 0.1)
        return "/dead"


def _content(path: Path) -> tuple[bytes, int]:
    return path.read_bytes(), stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    seeds.clear()
    made = Files(tmp_path / "data", tmp_path / "run", seed=_seed)
    yield made
    made.close()
    for point in mounts_below(str(tmp_path)):
        libc.unmount(point)


seeds: list[tuple[str, str, str]] = []


async def _seed(chain_id: str, path: str, target: str) -> None:
    seeds.append((chain_id, path, target))
    os.close(os.open(f"{target}/copied", os.O_CREAT, 0o600))
    if chain_id == "broken":
        raise Unavailable("image is away")
    os.chmod(target, 0o750)


@pytest.fixture
def seen(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeenOnDisk]:
    (tmp_path / "host").mkdir()
    gate = threading.Event()
    yield SeenOnDisk(files, tmp_path / "host", gate, monkeypatch)
    gate.set()


class TestFiles(FilesContract):
    pass


def _inode(path: str) -> int:
    return os.stat(path).st_ino


def _names(path: str | Path) -> list[str]:
    return sorted(os.listdir(path))


async def test_an_equal_tree_is_not_written_again(files: Files) -> None:
    tree = FileTree("t", {"a": (b"1", 0o644), "d/e": (b"2", 0o644)}, owner=(12, 34))
    await files.keep_tree(UID, tree)
    root = files.path(UID, "tree", "t")
    before = (os.readlink(f"{root}/..data"), _inode(f"{root}/a"))
    await files.keep_tree(UID, tree)
    assert (os.readlink(f"{root}/..data"), _inode(f"{root}/a")) == before
    assert {(os.stat(f"{root}/{n}").st_uid, os.stat(f"{root}/{n}").st_gid) for n in ("a", "d", "d/e", ".")} == {(12, 34)}


async def test_a_change_swaps_all_at_once_and_leaves_nothing_old(files: Files) -> None:
    await files.keep_tree(UID, FileTree("t", {"a": (b"1", 0o644), "b": (b"1", 0o644)}))
    root = files.path(UID, "tree", "t")
    with paths.folder(f"{root}/{os.readlink(f'{root}/..data')}") as old:
        await files.keep_tree(UID, FileTree("t", {"a": (b"2", 0o644)}))
        assert os.listdir(old) == []
    data = os.readlink(f"{root}/..data")
    assert _names(root) == sorted(["..data", data, "a"])
    assert os.readlink(f"{root}/a") == "..data/a"


@pytest.mark.parametrize("drift", ["content", "mode", "extra", "link out", "data gone", "data is a folder", "link is a folder"])
async def test_drift_in_a_tree_is_healed(files: Files, seen: SeenOnDisk, tmp_path: Path, drift: str) -> None:
    want = {"a": (b"1", 0o644), "d/e": (b"2", 0o644)}
    await files.keep_tree(UID, FileTree("t", want))
    root = Path(files.path(UID, "tree", "t"))
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "a").write_text("mine")
    _drift(root, victim, drift)
    await files.keep_tree(UID, FileTree("t", want))
    assert seen.tree(UID, "tree", "t") == want
    assert _content(victim / "a") == (b"mine", 0o644)
    assert len(_names(root)) == 4


def _drift(root: Path, victim: Path, drift: str) -> None:
    if drift == "content":
        (root / "a").write_text("2")
    elif drift == "mode":
        (root / "a").chmod(0o600)
    elif drift == "extra":
        (root / "..data" / "d" / "more").touch()
        (root / "extra").touch()
    elif drift == "link out":
        (root / "..data").unlink()
        (root / "..data").symlink_to(victim)
        (root / "a").unlink()
        (root / "a").symlink_to(victim / "a")
    elif drift == "data gone":
        (root / "..data").unlink()
    elif drift == "data is a folder":
        (root / "..data").unlink()
        (root / "..data" / "full").mkdir(parents=True)
    else:
        (root / "a").unlink()
        (root / "a" / "full").mkdir(parents=True)


async def test_secret_trees_lie_in_memory_and_others_may_not_enter(files: Files, tmp_path: Path) -> None:
    await files.keep_tree(UID, FileTree("t", {"token": (b"s3cret", 0o644)}, volatile=True))
    mount = tmp_path / "run" / "volatile" / UID
    assert is_mount_point(str(mount))
    assert stat.S_IMODE(mount.stat().st_mode) == 0o700
    assert stat.S_IMODE(mount.parent.stat().st_mode) == 0o700
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(mount) in line]
    assert " tmpfs " in found[0]
    assert "nosuid" in found[0]


async def test_a_file_keeps_its_inode_so_that_bind_mounts_follow(files: Files, tmp_path: Path) -> None:
    await files.keep_file(UID, "hosts", b"long content\n")
    path = files.path(UID, "file", "hosts")
    shown = tmp_path / "shown"
    shown.touch()
    libc.mount(path, str(shown), flags=libc.MS_BIND)
    await files.keep_file(UID, "hosts", b"short\n")
    assert shown.read_bytes() == b"short\n"


@pytest.mark.parametrize("there", ["link", "folder", "fifo", "socket"])
async def test_what_is_no_file_makes_room_for_it(files: Files, seen: SeenOnDisk, tmp_path: Path, there: str) -> None:
    path = Path(files.path(UID, "file", "hosts"))
    path.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    if there == "link":
        path.symlink_to(victim)
    elif there == "folder":
        (path / "full").mkdir(parents=True)
    elif there == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    await files.keep_file(UID, "hosts", b"ours")
    assert seen.file(UID, "hosts") == (b"ours", 0o644)
    assert victim.read_text() == "mine"


async def test_a_planted_folder_link_is_not_followed(files: Files, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "data" / "containers").mkdir(parents=True)
    (tmp_path / "data" / "containers" / UID).symlink_to(victim)
    await files.keep_file(UID, "hosts", b"ours")
    await files.remove(UID)
    assert _names(victim) == []


@pytest.mark.parametrize("medium", ["", "Memory"])
async def test_a_seed_is_copied_once(files: Files, medium: str) -> None:
    empty = EmptyDir("data", medium, seed=("sha256:c", "/var/lib/x"))
    await files.keep_emptydir(UID, empty)
    path = files.path(UID, "emptydir", "data")
    os.unlink(f"{path}/copied")
    await files.keep_emptydir(UID, empty)
    assert _names(path) == []
    assert seeds == [("sha256:c", "/var/lib/x", path)]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o750


@pytest.mark.parametrize("medium", ["", "Memory"])
async def test_a_half_copied_seed_is_begun_anew(files: Files, medium: str) -> None:
    with pytest.raises(Unavailable, match="away"):
        await files.keep_emptydir(UID, EmptyDir("data", medium, seed=("broken", "/x")))
    path = files.path(UID, "emptydir", "data")
    os.close(os.open(f"{path}/half", os.O_CREAT))
    await files.keep_emptydir(UID, EmptyDir("data", medium, seed=("sha256:c", "/x")))
    assert _names(path) == ["copied"]
    assert len(mounts_below(path)) == (medium == "Memory")


async def test_content_of_a_disk_folder_survives_a_new_agent(files: Files, tmp_path: Path) -> None:
    await files.keep_emptydir(UID, EmptyDir("data"))
    path = files.path(UID, "emptydir", "data")
    os.close(os.open(f"{path}/kept", os.O_CREAT))
    again = Files(tmp_path / "data", tmp_path / "run")
    await again.keep_emptydir(UID, EmptyDir("data"))
    again.close()
    assert _names(path) == ["kept"]


async def test_memory_is_mounted_again_after_a_boot(files: Files, seen: SeenOnDisk, tmp_path: Path) -> None:
    await files.keep_emptydir(UID, EmptyDir("fast", "Memory", 1 << 20))
    await files.keep_shm(UID, 1 << 20)
    for point in mounts_below(str(tmp_path)):
        libc.unmount(point)
    await files.keep_emptydir(UID, EmptyDir("fast", "Memory", 1 << 20))
    await files.keep_shm(UID, 1 << 20)
    assert seen.emptydir(UID, "fast") == "Memory"
    assert seen.shm_size(UID) == 1 << 20


async def test_a_size_that_holds_too_little_is_unavailable(files: Files, seen: SeenOnDisk) -> None:
    await files.keep_shm(UID, 1 << 20)
    with open(f"{files.path(UID, 'shm', '')}/full", "wb") as file:  # noqa: ASYNC230
        file.write(b"x" * (512 << 10))
    with pytest.raises(Unavailable):
        await files.keep_shm(UID, 64 << 10)
    assert seen.shm_size(UID) == 1 << 20


async def test_remove_stops_at_mounts_links_and_other_owners(files: Files, seen: SeenOnDisk, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "data").write_text("mine")
    for uid in (UID, OTHER):
        await files.keep_emptydir(uid, EmptyDir("d"))
    inside = Path(files.path(UID, "emptydir", "d"))
    (inside / "link").symlink_to(victim)
    (inside / "mnt").mkdir()
    (inside / "file").touch()
    (inside / "odd name\n\\").mkdir()
    libc.mount(str(victim), str(inside / "mnt"), flags=libc.MS_BIND)
    libc.mount(str(victim / "data"), str(inside / "file"), flags=libc.MS_BIND)
    libc.mount("tmpfs", str(inside / "odd name\n\\"), "tmpfs")
    os.link(victim / "data", inside / "hard")
    await files.remove(UID)
    assert not inside.exists()
    assert (victim / "data").read_text() == "mine"
    assert list(await files.list()) == [OTHER]


async def test_a_long_removal_holds_up_nobody(
    files: Files, seen: SeenOnDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, gate = driver._remove, threading.Event()

    def slow(roots: tuple[str, ...], uid: str) -> None:
        gate.wait(10)
        real(roots, uid)

    await files.keep_emptydir(UID, EmptyDir("d"))
    monkeypatch.setattr(driver, "_remove", slow)
    monkeypatch.setattr(driver, "REMOVE_LIMIT_S", 0.05)
    for _ in range(2):
        with pytest.raises(Unavailable, match="answer"):
            await files.remove(UID)
    await files.keep_emptydir(OTHER, EmptyDir("d"))
    gate.set()
    async with asyncio.timeout(10):
        while files._removals.hung:  # noqa: ASYNC110 - polled: it has no event of its own
            await asyncio.sleep(0.005)
    assert list(await files.list()) == [OTHER]
    monkeypatch.undo()
    await files.remove(UID)
    assert seen.emptydir(OTHER, "d") == ""


async def test_what_is_mounted_is_never_emptied(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "data").write_text("mine")
    (tmp_path / "root" / "uid" / "mnt").mkdir(parents=True)
    libc.mount(str(victim), str(tmp_path / "root" / "uid" / "mnt"), flags=libc.MS_BIND)
    try:
        with paths.folder(tmp_path / "root") as root, pytest.raises(Unavailable, match="mnt is still mounted"):
            paths.remove_entry(root, "uid")
    finally:
        libc.unmount(str(tmp_path / "root" / "uid" / "mnt"))
    assert (victim / "data").read_text() == "mine"


async def test_folders_nested_without_end_go(files: Files) -> None:
    await files.keep_emptydir(UID, EmptyDir("d"))
    fd = os.open(files.path(UID, "emptydir", "d"), os.O_DIRECTORY)
    for _ in range(2000):
        os.mkdir("n" * 200, dir_fd=fd)
        inner = os.open("n" * 200, os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    await files.remove(UID)
    assert list(await files.list()) == []


async def test_a_full_disk_is_unavailable(files: Files, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    libc.mount("tmpfs", str(tmp_path / "data"), "tmpfs", options="size=64k")
    old = FileTree("t", {"a": (b"old", 0o644)})
    await files.keep_tree(UID, old)
    with pytest.raises(Unavailable, match="space"):
        await files.keep_tree(UID, FileTree("t", {"a": (b"x" * 100_000, 0o644)}))
    root = Path(files.path(UID, "tree", "t"))
    assert (root / "a").read_bytes() == b"old"
    await files.keep_tree(UID, old)
    assert len(_names(root)) == 3


async def test_probe_follows_links_and_tells_a_loop_from_a_dead_mount(files: Files, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to").symlink_to("there")
    (tmp_path / "there").mkdir()
    assert await files.probe(str(tmp_path / "loop")) == ""
    assert await files.probe(str(tmp_path / "to")) == "Directory"
    assert await files.probe(str(tmp_path / "there" / "x" / "y")) == ""
    with pytest.raises(Unavailable, match="too long"):
        await files.probe("/" + "x" * 5000)
