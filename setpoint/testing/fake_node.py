"""In-memory stand-ins for what the Container slice asks of the node, held to the real drivers by ``node_contract``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from controllers.container.ports import EmptyDir, FileTree, ImageInfo, Sandbox
from setpoint.drivers import trees
from setpoint.drivers.paths import require_name
from state.errors import Invalid, NotFound, Unavailable
from state.objects import Object
from state.references import normalise

Kind = Literal["tree", "volatile", "file", "emptydir", "shm"]
Found = Literal["", "File", "Directory", "Socket", "CharDevice", "BlockDevice", "Other"]


class FakeSandboxes:
    """What it gets wrong: a namespace is only a name here. Nothing can be joined, there is no ``lo``, nothing ever runs out."""

    def __init__(self, folder: str = "/run/setpoint/netns") -> None:
        self._folder = folder
        self._pins: dict[str, int] = {}
        self.made = 0
        """How many namespaces were ever made."""

    async def ensure(self, uid: str) -> Sandbox:
        require_name(uid, "uid")
        if uid not in self._pins:
            self.made += 1
            self._pins[uid] = self.made
        return Sandbox(uid, f"{self._folder}/{uid}")

    async def release(self, uid: str) -> None:
        require_name(uid, "uid")
        self._pins.pop(uid, None)

    async def list(self) -> Sequence[str]:
        return sorted(self._pins)

    def lose(self, uid: str) -> None:
        """Takes a namespace away as a reboot or somebody else would."""
        self._pins.pop(uid, None)

    def identity(self, uid: str) -> int:
        """Which namespace is pinned; another number after it was made again. 0: none."""
        return self._pins.get(uid, 0)

    def census(self) -> dict[str, Sequence[str]]:
        """What is left on the node, by sort."""
        return {"netns": sorted(self._pins)} if self._pins else {}


@dataclass(slots=True)
class _Owned:
    trees: dict[tuple[Kind, str], FileTree] = field(default_factory=dict)
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    emptydirs: dict[str, EmptyDir] = field(default_factory=dict)
    shm: int | None = None


class FakeFiles:
    """What it gets wrong: readers cannot watch a swap, disks never fill, rights and sizes are remembered and not enforced, and
    a copy from an image leaves no content behind."""

    def __init__(self, data_dir: str = "/var/lib/setpoint", run_dir: str = "/run/setpoint") -> None:
        self._data = data_dir
        self._run = run_dir
        self._owned: dict[str, _Owned] = {}
        self.host: dict[str, Found] = {}
        """What ``probe`` finds at a path of the host; change it at will."""
        self.hung: set[str] = set()
        """Paths of the host that do not answer."""
        self.writes = 0
        """How often anything changed."""

    def path(self, uid: str, kind: Kind, name: str) -> str:
        require_name(uid, "uid")
        if kind == "shm":
            return f"{self._run}/shm/{uid}"
        require_name(name, f"{kind} name")
        if kind == "volatile":
            return f"{self._run}/volatile/{uid}/{name}"
        return f"{self._data}/containers/{uid}/{kind}s/{name}"

    async def keep_tree(self, uid: str, tree: FileTree) -> None:
        kind: Kind = "volatile" if tree.volatile else "tree"
        self.path(uid, kind, tree.name)
        trees.check(tree)
        kept = self._of(uid).trees
        self.writes += kept.get((kind, tree.name)) != tree
        kept[kind, tree.name] = tree

    async def keep_file(self, uid: str, name: str, content: bytes, mode: int = 0o644) -> None:
        self.path(uid, "file", name)
        kept = self._of(uid).files
        self.writes += kept.get(name) != (content, mode)
        kept[name] = (content, mode)

    async def keep_emptydir(self, uid: str, empty: EmptyDir) -> None:
        self.path(uid, "emptydir", empty.name)
        if empty.medium not in ("", "Memory"):
            raise Invalid(f"emptyDir {empty.name}: medium {empty.medium!r} is unknown, there are '' and 'Memory'")
        kept = self._of(uid).emptydirs
        self.writes += kept.get(empty.name) != empty
        kept[empty.name] = empty

    async def keep_shm(self, uid: str, size_bytes: int) -> None:
        self.path(uid, "shm", "")
        owned = self._of(uid)
        self.writes += owned.shm != size_bytes
        owned.shm = size_bytes

    async def probe(self, path: str) -> Found:
        if path in self.hung:
            raise Unavailable(f"{path} did not answer in 2 s")
        if "\0" in path:
            raise Invalid(f"{path!r} is no path")
        return self.host.get(path, "")

    async def remove(self, uid: str) -> None:
        require_name(uid, "uid")
        self.writes += self._owned.pop(uid, None) is not None

    async def list(self) -> Sequence[str]:
        return sorted(self._owned)

    def tree(self, uid: str, kind: Kind, name: str) -> dict[str, tuple[bytes, int]] | None:
        """The files of a kept tree; None: there is none."""
        owned = self._owned.get(uid)
        tree = owned.trees.get((kind, name)) if owned else None
        return dict(tree.files) if tree else None

    def file(self, uid: str, name: str) -> tuple[bytes, int] | None:
        """Content and mode of a kept file; None: there is none."""
        owned = self._owned.get(uid)
        return owned.files.get(name) if owned else None

    def emptydir(self, uid: str, name: str) -> str | None:
        """The medium of an emptyDir; None: there is none."""
        owned = self._owned.get(uid)
        return owned.emptydirs[name].medium if owned and name in owned.emptydirs else None

    def shm_size(self, uid: str) -> int | None:
        """Bytes of a shared memory mount; None: there is none."""
        owned = self._owned.get(uid)
        return owned.shm if owned else None

    def census(self) -> dict[str, Sequence[str]]:
        """What is left on the node, by sort."""
        return {"files": sorted(self._owned)} if self._owned else {}

    def _of(self, uid: str) -> _Owned:
        return self._owned.setdefault(uid, _Owned())


class FakeImages:
    """What it gets wrong: images have no layers and no size, a fetch is over as soon as it is asked for, and credentials are
    never checked."""

    def __init__(self) -> None:
        self._local: dict[str, ImageInfo] = {}
        self._trouble: dict[str, str] = {}
        self.remote: dict[str, ImageInfo] = {}
        """What a fetch finds, by normalised reference."""
        self.fetched: list[str] = []
        """Every fetch that was asked for, in order."""

    def add(self, reference: str, config: Object | None = None, *, passwd: str = "", group: str = "") -> ImageInfo:
        """Puts an image on the node; returns what ``resolve`` will tell of it."""
        info = image_info(reference, config or {}, passwd=passwd, group=group)
        self._local[info.reference] = info
        self._trouble.pop(info.reference, None)
        return info

    def offer(self, reference: str, config: Object | None = None) -> ImageInfo:
        """Puts an image where a fetch finds it."""
        info = image_info(reference, config or {})
        self.remote[info.reference] = info
        return info

    def drop(self, reference: str) -> None:
        """Takes an image off the node; missing is fine."""
        self._local.pop(normalise(reference), None)

    async def resolve(self, reference: str) -> ImageInfo:
        name = normalise(reference)
        if name in self._local:
            return self._local[name]
        repository, _, digest = name.partition("@")
        for info in self._local.values():
            if digest and info.digest == digest and normalise(info.reference).startswith(repository):
                return info
        raise NotFound(f"image {reference} is not on this node", kind="images", name=reference)

    async def refresh(self, reference: str, credentials: Sequence[Object] = ()) -> bool:
        """The registry never has anything newer."""
        return True

    def fetch(self, reference: str, credentials: Sequence[Object] = ()) -> None:
        try:
            name = normalise(reference)
        except Invalid as exc:
            self._trouble[reference] = exc.message
            return
        self.fetched.append(name)
        if name in self.remote:
            self._local[name] = self.remote[name]
            self._trouble.pop(name, None)
        else:
            self._trouble[name] = f"{name}: the registry does not have it"

    def trouble(self, reference: str) -> str:
        try:
            return self._trouble.get(normalise(reference), "")
        except Invalid:
            return self._trouble.get(reference, "")


def image_info(reference: str, config: Object, *, passwd: str = "", group: str = "") -> ImageInfo:
    """An image made up from its name: equal names and configs give equal digests."""
    name = normalise(reference)
    seed = hashlib.sha256(json.dumps([name, config], sort_keys=True).encode()).hexdigest()
    chain = hashlib.sha256(seed.encode()).hexdigest()
    return ImageInfo(name, f"sha256:{seed}", f"sha256:{chain}", config, passwd, group)
