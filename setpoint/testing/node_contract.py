"""What Sandboxes, NodeFiles and Images promise, as tests: fakes and real drivers run the same classes, in equal numbers.

A subclass (``class TestX(SandboxesContract)``) gives the fixtures; the hooks that raise NotImplementedError tell how to look at
the one and the other from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import pytest

from controllers.container.ports import EmptyDir, FileTree, ImageInfo, Images, NodeFiles, Sandboxes
from state.errors import Invalid, NotFound, Unavailable

UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"
OTHER = "0e4f7e55-1f0a-4c5e-9d5e-0123456789ab"
HOSTILE = ["", ".", "..", "a/b", "../x", "/etc", "a\0b", "x" * 256]


class SandboxesContract:
    """Fixtures: ``sandboxes``. Hooks: ``identity``, ``spoil``."""

    def identity(self, sandboxes: Sandboxes, uid: str) -> int:
        """A number that tells one pinned namespace from another; 0 = none."""
        raise NotImplementedError

    def spoil(self, sandboxes: Sandboxes, uid: str) -> None:
        """Takes the namespace away behind the driver's back and leaves what a crash might leave."""
        raise NotImplementedError

    async def test_none_at_first(self, sandboxes: Sandboxes) -> None:
        assert list(await sandboxes.list()) == []
        assert self.identity(sandboxes, UID) == 0

    async def test_ensure_pins_one(self, sandboxes: Sandboxes) -> None:
        made = await sandboxes.ensure(UID)
        assert made.uid == UID
        assert made.netns.endswith(UID)
        assert self.identity(sandboxes, UID)
        assert list(await sandboxes.list()) == [UID]

    async def test_ensure_again_keeps_it(self, sandboxes: Sandboxes) -> None:
        first = await sandboxes.ensure(UID)
        before = self.identity(sandboxes, UID)
        assert await sandboxes.ensure(UID) == first
        assert self.identity(sandboxes, UID) == before

    async def test_each_uid_has_its_own(self, sandboxes: Sandboxes) -> None:
        for uid in (UID, OTHER):
            await sandboxes.ensure(uid)
        assert self.identity(sandboxes, UID) != self.identity(sandboxes, OTHER)
        assert list(await sandboxes.list()) == sorted([UID, OTHER])

    async def test_a_lost_namespace_is_made_again(self, sandboxes: Sandboxes) -> None:
        await sandboxes.ensure(UID)
        self.spoil(sandboxes, UID)
        assert self.identity(sandboxes, UID) == 0
        await sandboxes.ensure(UID)
        assert self.identity(sandboxes, UID)

    async def test_release_takes_only_its_own(self, sandboxes: Sandboxes) -> None:
        for uid in (UID, OTHER):
            await sandboxes.ensure(uid)
        await sandboxes.release(UID)
        assert self.identity(sandboxes, UID) == 0
        assert self.identity(sandboxes, OTHER)
        assert list(await sandboxes.list()) == [OTHER]

    async def test_release_twice_and_of_nothing(self, sandboxes: Sandboxes) -> None:
        await sandboxes.ensure(UID)
        await sandboxes.release(UID)
        await sandboxes.release(UID)
        await sandboxes.release(OTHER)
        assert list(await sandboxes.list()) == []

    async def test_many(self, sandboxes: Sandboxes) -> None:
        uids = [f"{number:08x}{UID[8:]}" for number in range(20)]
        for uid in uids:
            await sandboxes.ensure(uid)
        assert len({self.identity(sandboxes, uid) for uid in uids}) == 20
        for uid in uids:
            await sandboxes.release(uid)
        assert list(await sandboxes.list()) == []

    @pytest.mark.parametrize("uid", HOSTILE)
    async def test_hostile_uids_are_refused(self, sandboxes: Sandboxes, uid: str) -> None:
        with pytest.raises(Invalid):
            await sandboxes.ensure(uid)
        with pytest.raises(Invalid):
            await sandboxes.release(uid)
        assert list(await sandboxes.list()) == []


class SeenFiles(Protocol):
    """How to look at kept files from outside."""

    def tree(self, uid: str, kind: Literal["tree", "volatile"], name: str) -> dict[str, tuple[bytes, int]] | None: ...

    def file(self, uid: str, name: str) -> tuple[bytes, int] | None: ...

    def emptydir(self, uid: str, name: str) -> str | None: ...

    def shm_size(self, uid: str) -> int | None: ...

    def put_on_host(self, found: str) -> str:
        """A path of the host where there is such a thing; empty = nothing."""

    def hang(self) -> str:
        """A path of the host that does not answer."""


class FilesContract:
    """Fixtures: ``files``, and ``seen`` to look at what they made."""

    async def test_nothing_at_first(self, files: NodeFiles, seen: SeenFiles) -> None:
        assert list(await files.list()) == []

    async def test_paths_are_distinct_and_pure(self, files: NodeFiles, seen: SeenFiles) -> None:
        kinds: tuple[Literal["tree", "volatile", "file", "emptydir", "shm"], ...] = (
            "tree",
            "volatile",
            "file",
            "emptydir",
            "shm",
        )
        assert len({files.path(uid, kind, "x") for uid in (UID, OTHER) for kind in kinds}) == 10
        assert list(await files.list()) == []

    @pytest.mark.parametrize("volatile", [False, True])
    async def test_a_tree_holds_exactly_that(self, files: NodeFiles, seen: SeenFiles, volatile: bool) -> None:
        kind: Literal["tree", "volatile"] = "volatile" if volatile else "tree"
        first = {"a": (b"1", 0o644), "b": (b"2", 0o400), "deep/er/c": (b"", 0o600)}
        await files.keep_tree(UID, FileTree("conf", first, volatile=volatile))
        assert seen.tree(UID, kind, "conf") == first
        second = {"a": (b"1", 0o755), "deep": (b"now a file", 0o644), "e/f": (b"3", 0o644)}
        await files.keep_tree(UID, FileTree("conf", second, volatile=volatile))
        assert seen.tree(UID, kind, "conf") == second
        await files.keep_tree(UID, FileTree("conf", {}, volatile=volatile))
        assert seen.tree(UID, kind, "conf") == {}

    async def test_trees_of_both_sorts_and_several_uids(self, files: NodeFiles, seen: SeenFiles) -> None:
        for uid in (UID, OTHER):
            await files.keep_tree(uid, FileTree("x", {"a": (uid.encode(), 0o644)}))
            await files.keep_tree(uid, FileTree("x", {"s": (uid.encode(), 0o400)}, volatile=True))
        assert seen.tree(UID, "tree", "x") == {"a": (UID.encode(), 0o644)}
        assert seen.tree(OTHER, "volatile", "x") == {"s": (OTHER.encode(), 0o400)}
        assert seen.tree(UID, "tree", "y") is None
        assert list(await files.list()) == sorted([UID, OTHER])

    @pytest.mark.parametrize("path", [*HOSTILE, "..data", "a/../b", "a//b", "..x/y"])
    async def test_hostile_file_paths_are_refused(self, files: NodeFiles, seen: SeenFiles, path: str) -> None:
        if path == "a/b":
            path = "/a/b"
        with pytest.raises(Invalid):
            await files.keep_tree(UID, FileTree("x", {path: (b"evil", 0o644)}))
        assert list(await files.list()) == []

    async def test_a_file_and_a_folder_of_one_name_are_refused(self, files: NodeFiles, seen: SeenFiles) -> None:
        with pytest.raises(Invalid, match="folder"):
            await files.keep_tree(UID, FileTree("x", {"a": (b"", 0o644), "a/b": (b"", 0o644)}))

    @pytest.mark.parametrize("name", HOSTILE)
    async def test_hostile_names_are_refused(self, files: NodeFiles, seen: SeenFiles, name: str) -> None:
        calls: list[Callable[[str, str], object]] = [
            lambda uid, name: files.keep_tree(uid, FileTree(name, {})),
            lambda uid, name: files.keep_tree(uid, FileTree(name, {}, volatile=True)),
            lambda uid, name: files.keep_file(uid, name, b""),
            lambda uid, name: files.keep_emptydir(uid, EmptyDir(name)),
        ]
        for call in calls:
            for uid, thing in ((name, "x"), (UID, name)):
                with pytest.raises(Invalid):
                    await call(uid, thing)  # type: ignore[misc]
        for pending in (files.keep_shm(name, 4096), files.remove(name)):
            with pytest.raises(Invalid):
                await pending
        assert list(await files.list()) == []

    async def test_a_file_is_kept(self, files: NodeFiles, seen: SeenFiles) -> None:
        await files.keep_file(UID, "hosts", b"127.0.0.1 localhost\n")
        assert seen.file(UID, "hosts") == (b"127.0.0.1 localhost\n", 0o644)
        await files.keep_file(UID, "hosts", b"x", 0o600)
        assert seen.file(UID, "hosts") == (b"x", 0o600)
        assert seen.file(UID, "hostname") is None

    @pytest.mark.parametrize("medium", ["", "Memory"])
    async def test_an_emptydir_is_kept(self, files: NodeFiles, seen: SeenFiles, medium: str) -> None:
        empty = EmptyDir("scratch", medium, 1 << 20)
        for _ in range(2):
            await files.keep_emptydir(UID, empty)
            assert seen.emptydir(UID, "scratch") == medium
        assert seen.emptydir(UID, "other") is None

    async def test_an_unknown_medium_is_refused(self, files: NodeFiles, seen: SeenFiles) -> None:
        with pytest.raises(Invalid, match="Memory"):
            await files.keep_emptydir(UID, EmptyDir("scratch", "HugePages"))

    async def test_shared_memory_has_its_size_and_changes_it(self, files: NodeFiles, seen: SeenFiles) -> None:
        assert seen.shm_size(UID) is None
        for size in (1 << 20, 1 << 20, 2 << 20):
            await files.keep_shm(UID, size)
            assert seen.shm_size(UID) == size

    @pytest.mark.parametrize("found", ["", "File", "Directory", "Socket", "CharDevice", "BlockDevice", "Other"])
    async def test_probe_tells_what_is_there(self, files: NodeFiles, seen: SeenFiles, found: str) -> None:
        assert await files.probe(seen.put_on_host(found)) == found

    async def test_probe_of_no_path(self, files: NodeFiles, seen: SeenFiles) -> None:
        with pytest.raises(Invalid):
            await files.probe("/a\0b")

    async def test_probe_of_a_path_that_hangs(self, files: NodeFiles, seen: SeenFiles) -> None:
        path = seen.hang()
        for _ in range(2):
            with pytest.raises(Unavailable, match="answer"):
                await files.probe(path)
        assert await files.probe(seen.put_on_host("File")) == "File"

    async def test_remove_takes_all_of_one_uid(self, files: NodeFiles, seen: SeenFiles) -> None:
        for uid in (UID, OTHER):
            await files.keep_tree(uid, FileTree("t", {"a": (b"1", 0o644)}))
            await files.keep_tree(uid, FileTree("v", {"a": (b"1", 0o644)}, volatile=True))
            await files.keep_file(uid, "hosts", b"")
            await files.keep_emptydir(uid, EmptyDir("disk"))
            await files.keep_emptydir(uid, EmptyDir("memory", "Memory"))
            await files.keep_shm(uid, 1 << 20)
        for _ in range(2):
            await files.remove(UID)
            assert list(await files.list()) == [OTHER]
        assert seen.shm_size(UID) is None
        assert seen.emptydir(UID, "memory") is None
        assert seen.tree(OTHER, "volatile", "v") == {"a": (b"1", 0o644)}
        assert seen.emptydir(OTHER, "memory") == "Memory"
        assert seen.shm_size(OTHER) == 1 << 20


class ImagesContract:
    """Fixtures: ``images``, ``names`` = (on the node, only in a registry, nowhere). Hook: ``settled``."""

    async def settled(self, images: Images, reference: str) -> None:
        """Returns when the fetch of ``reference`` has ended, well or not."""
        raise NotImplementedError

    async def test_resolve_tells_all(self, images: Images, names: tuple[str, str, str]) -> None:
        info = await images.resolve(names[0])
        assert info.digest.startswith("sha256:")
        assert info.chain_id.startswith("sha256:")
        assert info.digest != info.chain_id
        assert info.config["config"]["Cmd"] == ["sh"]
        assert "root:x:0:0" in info.passwd
        assert "root:x:0:" in info.group

    async def test_resolve_again_is_the_same(self, images: Images, names: tuple[str, str, str]) -> None:
        assert await images.resolve(names[0]) == await images.resolve(names[0])

    async def test_resolve_by_digest(self, images: Images, names: tuple[str, str, str]) -> None:
        info = await images.resolve(names[0])
        pinned: ImageInfo = await images.resolve(f"{names[0].rpartition(':')[0]}@{info.digest}")
        assert (pinned.digest, pinned.chain_id) == (info.digest, info.chain_id)

    async def test_resolve_of_nothing_names_it(self, images: Images, names: tuple[str, str, str]) -> None:
        with pytest.raises(NotFound, match=names[2]):
            await images.resolve(names[2])

    async def test_a_bad_name_is_invalid(self, images: Images, names: tuple[str, str, str]) -> None:
        with pytest.raises(Invalid):
            await images.resolve("Not A Name")
        images.fetch("Not A Name")
        assert images.trouble("Not A Name")

    async def test_fetch_brings_it(self, images: Images, names: tuple[str, str, str]) -> None:
        with pytest.raises(NotFound):
            await images.resolve(names[1])
        images.fetch(names[1])
        images.fetch(names[1])
        await self.settled(images, names[1])
        assert (await images.resolve(names[1])).reference == names[1]
        assert images.trouble(names[1]) == ""

    async def test_a_failed_fetch_tells_its_trouble(self, images: Images, names: tuple[str, str, str]) -> None:
        assert images.trouble(names[2]) == ""
        images.fetch(names[2])
        await self.settled(images, names[2])
        assert names[2] in images.trouble(names[2])
        with pytest.raises(NotFound):
            await images.resolve(names[2])
