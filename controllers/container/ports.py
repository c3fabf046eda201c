"""What the Container slice needs of the node. Raised errors are those of :mod:`state.errors`:

NotFound: the thing is not there. Unavailable: the other side is away, nothing happened. InDoubt: it may still happen.
Invalid: the node understood and refused for good (a bad spec). Every method is idempotent unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from state.objects import Key, Object

TaskState = Literal["CREATED", "RUNNING", "PAUSED", "PAUSING", "STOPPED", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a task ended. ``true`` only if a live shim told it; else ``code`` is containerd's guess, shown as ``reported``."""

    code: int
    at: str
    """RFC 3339, UTC, with fraction."""
    true: bool = True
    oom: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """One containerd record of ours, with its task if there is one. ``id`` is ``<uid without dashes>-<revision>``."""

    id: str
    uid: str
    revision: int
    namespace: str
    name: str
    task: TaskState | None = None
    pid: int = 0
    exit: Exit | None = None
    """Set while the task is STOPPED and not yet reaped, or when it vanished and an exit event told a number (then not true)."""
    declaration: Object | None = None
    """The declaration kept in the record's extensions; filled by ``look`` and by ``list`` of orphans, else None."""


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to this containerd id: look again. ``oom``/``exit`` carry what a look would no longer show."""

    id: str
    topic: str
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """A local, unpacked image. ``config`` is the OCI image config document; ``passwd``/``group``: the texts of its files."""

    reference: str
    digest: str
    chain_id: str
    config: Object
    passwd: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Stdio:
    """Paths of FIFOs whose readers are open; empty string = none. With ``terminal`` stderr is empty."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A record to be made. ``spec`` is the OCI runtime spec document."""

    id: str
    uid: str
    revision: int
    namespace: str
    name: str
    image: str
    chain_id: str
    spec: Object
    runtime: str = "runc"
    systemd_cgroup: bool = False
    declaration: Object = field(default_factory=dict)


class Runtime(Protocol):
    """containerd's containers, tasks and snapshots, in our namespace, ours only (label ``setpoint.dev/engine``)."""

    async def create(self, new: NewInstance) -> None:
        """The record, then its snapshot. One that is there with the same labels gets this spec. NotFound: the image, named."""

    async def launch(self, id: str, stdio: Stdio) -> int:
        """Makes the task (and the snapshot again if it was lost) and starts it; returns its pid. Not idempotent: a task that is
        there: AlreadyExists. A process that cannot be executed raises StartFailed with 126, 127 or 128, leaving no task."""

    async def signal(self, id: str, signal: int, *, everyone: bool = False) -> None:
        """NotFound when there is no live process."""

    async def pause(self, id: str) -> None: ...

    async def resume(self, id: str) -> None: ...

    async def update(self, id: str, resources: Object) -> None:
        """Applies ``linux.resources`` of the OCI spec to the running task."""

    async def reap(self, id: str, *, force: bool = False) -> Exit | None:
        """Deletes the stopped task (``force``: kills it first) and tells its exit; None when there was none."""

    async def remove(self, id: str) -> None:
        """Snapshot, then record. The task must be gone (Conflict)."""

    async def look(self, id: str) -> Instance | None:
        """The one instance, read now."""


class RuntimeSource(Protocol):
    """How the node-wide view is filled."""

    async def list(self) -> Sequence[Instance]:
        """Every instance of ours, one row per record."""

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """From the moment of the first ``__anext__`` reply on; raises Unavailable when the stream breaks. Subscribing costs
        nothing when idle. Yields one event with an empty id when the subscription stands."""


class Images(Protocol):
    """What the node holds of images."""

    async def resolve(self, reference: str) -> ImageInfo:
        """A local and unpacked image by its normalised reference or ``repo@digest``. NotFound names it."""

    async def refresh(self, reference: str, credentials: Sequence[Object] = ()) -> bool:
        """imagePullPolicy Always: fetch what the registry holds under this reference, if that differs. False: the registry did
        not answer soon (then not asked again for a minute), so what is here may be old. Never raises."""

    def fetch(self, reference: str, credentials: Sequence[Object] = ()) -> None:
        """Starts a pull in the background unless one is under way; its failure is told by ``trouble``. Never raises."""

    def trouble(self, reference: str) -> str:
        """Why the last fetch failed, or how far the running one is; empty when there is nothing to tell."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pinned network namespace; ``netns`` is the path of the pin, empty with the host's network."""

    uid: str
    netns: str


class Sandboxes(Protocol):
    """Network namespaces that outlive tasks and the agent. Owned by a uid."""

    async def ensure(self, uid: str) -> Sandbox:
        """A pinned namespace with ``lo`` up; made again if the pin is no longer a namespace."""

    async def release(self, uid: str) -> None: ...

    async def list(self) -> Sequence[str]:
        """The uids that have a pin."""


@dataclass(frozen=True, slots=True)
class FileTree:
    """A folder of small files to be kept as said. ``files``: relative path -> (content, mode). ``volatile``: on tmpfs."""

    name: str
    files: Mapping[str, tuple[bytes, int]]
    mode: int = 0o755
    volatile: bool = False
    owner: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class EmptyDir:
    """A folder that lives as long as the object. ``medium`` "Memory" = tmpfs of ``size_bytes`` (0: kernel default).
    ``seed``: (chain id, path) of an image whose content is copied in when the folder is new."""

    name: str
    medium: str = ""
    size_bytes: int = 0
    seed: tuple[str, str] | None = None


class NodeFiles(Protocol):
    """Files under our data and run folders that containers see. Owned by a uid; never through a symlink."""

    def path(self, uid: str, kind: Literal["tree", "volatile", "file", "emptydir", "shm"], name: str) -> str:
        """Where it is (or will be); pure. ``shm`` has one place per uid, its ``name`` is not used."""

    async def keep_tree(self, uid: str, tree: FileTree) -> None:
        """The folder holds exactly that; files swap atomically (core/v1's ``..data`` link), readers see old or new."""

    async def keep_file(self, uid: str, name: str, content: bytes, mode: int = 0o644) -> None:
        """One bind-mounted file (hosts, hostname, resolv.conf), rewritten in place so that a bind mount follows."""

    async def keep_emptydir(self, uid: str, empty: EmptyDir) -> None: ...

    async def keep_shm(self, uid: str, size_bytes: int) -> None: ...

    async def probe(self, path: str) -> Literal["", "File", "Directory", "Socket", "CharDevice", "BlockDevice", "Other"]:
        """What is at a host's path (symlinks followed); empty = nothing. A path that does not answer in 2 s is Unavailable."""

    async def remove(self, uid: str) -> None:
        """All of it, mounts first."""

    async def list(self) -> Sequence[str]:
        """The uids that own anything."""


@dataclass(frozen=True, slots=True)
class LogWish:
    """What the pump needs to know of one task's streams."""

    uid: str
    id: str
    namespace: str
    name: str
    terminal: bool = False
    stdin: bool = False
    max_size_bytes: int = 10 << 20
    max_files: int = 5


class Logs(Protocol):
    """The keeper's log pump."""

    async def open(self, wish: LogWish) -> Stdio:
        """FIFOs whose read ends are open, to be called before every launch. Unavailable: no pump, do not launch."""

    async def tune(self, wish: LogWish) -> None:
        """New limits for an open log."""

    async def close(self, uid: str, *, keep_tail: bool) -> None:
        """The object goes: streams closed, files removed but for the last 64 KiB when ``keep_tail``."""

    async def list(self) -> Sequence[str]:
        """The uids that have streams or files."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What of the host shapes a spec. ``cgroup`` 1 or 2."""

    cgroup: int
    systemd_cgroup: bool
    cpus: int
    memory_bytes: int
    kernel: tuple[int, int]
    architecture: str
    hostname: str
    apparmor: bool
    capabilities: frozenset[str]
    init_path: str = ""
    """A static init (tini, catatonit) for ``init: true``; empty: there is none, which is a named condition."""
    resolv_conf: str = ""
    hosts: str = ""
    controllers: frozenset[str] = frozenset()
    """cgroup controllers that can be limited (memory, cpu, pids, cpuset, ...)."""
    extra: Mapping[str, Any] = field(default_factory=dict)


class HostPaths(Protocol):
    """Paths that belong to the host. None of them may hold the loop: Unavailable after 2 s without an answer."""

    async def make(self, path: str, kind: Literal["File", "Directory"]) -> None:
        """Makes an empty file (0644) or a folder (0755), with its parents, unless something is there."""

    async def within(self, base: str, sub: str) -> str:
        """``sub`` below ``base``, a folder made if nothing is there; Denied when a symlink leads out of ``base``."""


class Host(Protocol):
    """The host itself."""

    def facts(self) -> HostFacts: ...

    def runtime(self, name: str) -> str:
        """The path of the OCI runtime's program; empty when it is not installed."""


class Recorder(Protocol):
    """Events for people (core/v1), written behind: never on the way of a start."""

    def record(self, key: Key, uid: str, reason: str, message: str, *, warning: bool = False) -> None: ...


class StartFailed(Exception):
    """The runtime could not make the process run. ``code``: 126 not executable, 127 not found, 128 anything else.
    ``missing``: what must arrive first, when that is known (a bind source, a runtime binary)."""

    def __init__(self, message: str, code: int = 128, missing: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.missing = missing
