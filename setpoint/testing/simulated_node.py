"""A whole node in memory: the product's own loop over fakes, with a real SQLite store and ledger answered inline.

What it gets wrong: what the fakes get wrong (see each); the store is never slow, and its file lives in memory-backed storage.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from controllers import registry
from controllers.container.bundle import Ports
from controllers.container.ports import HostFacts, RuntimeSource
from controllers.registry import WATCHED, Controllers, Tuning
from setpoint.testing.clock import SeededRandom, SequentialIds, SimClock
from setpoint.testing.crashing import World
from setpoint.testing.fake_logs import FakeLogs
from setpoint.testing.fake_node import FakeFiles, FakeImages, FakeSandboxes
from setpoint.testing.fake_runtime import BUSYBOX, FakeRuntime
from setpoint.testing.scripted import RememberingLog
from setpoint.testing.simloop import simulate
from state.errors import StateError
from state.ledger import CONTAINERS, TOMBSTONES
from state.objects import API_VERSION, Key, Object
from state.sqlite.ledger import SqliteLedger
from state.sqlite.store import Options, SqliteStore

FACTS = HostFacts(
    cgroup=2,
    systemd_cgroup=False,
    cpus=2,
    memory_bytes=4 << 30,
    kernel=(6, 1),
    architecture="amd64",
    hostname="node",
    apparmor=False,
    capabilities=frozenset(),
    init_path="/usr/bin/tini",
    resolv_conf="nameserver 192.0.2.1\n",
)


class FakeHost:
    """What it gets wrong: the facts never change. ``runtimes`` may be set."""

    def __init__(self) -> None:
        self.runtimes = {"runc"}

    def facts(self) -> HostFacts:
        return FACTS

    def runtime(self, name: str) -> str:
        return f"/usr/bin/{name}" if name in self.runtimes else ""


class FakePaths:
    """What it gets wrong: there are no symlinks, and every path can be made."""

    def __init__(self, files: FakeFiles) -> None:
        self._files = files

    async def make(self, path: str, kind: Literal["File", "Directory"]) -> None:
        await asyncio.sleep(0)
        self._files.host.setdefault(path, kind)

    async def within(self, base: str, sub: str) -> str:
        await asyncio.sleep(0)
        return f"{base}/{sub}"


class RememberingRecorder:
    """Keeps every event."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def record(self, key: Key, uid: str, reason: str, message: str, *, warning: bool = False) -> None:
        self.told.append((key.name, reason, message))


@dataclass(slots=True)
class SimulatedNode:
    """What outlives the agent: the stores and the node. ``boot`` is one life of the agent on it."""

    store: SqliteStore
    ledger: SqliteLedger
    clock: SimClock
    runtime: FakeRuntime
    images: FakeImages
    sandboxes: FakeSandboxes = field(default_factory=FakeSandboxes)
    files: FakeFiles = field(default_factory=FakeFiles)
    logs: FakeLogs = field(default_factory=FakeLogs)
    host: FakeHost = field(default_factory=FakeHost)
    recorder: RememberingRecorder = field(default_factory=RememberingRecorder)
    log: RememberingLog = field(default_factory=RememberingLog)
    tuning: Tuning = field(default_factory=Tuning)
    loop: Controllers | None = None

    @classmethod
    async def make(cls, folder: Path, tuning: Tuning = Tuning()) -> SimulatedNode:
        clock = SimClock()
        store = await SqliteStore.open(folder / "store.db", clock=clock, ids=SequentialIds(), options=Options(inline=True))
        ledger = await SqliteLedger.open(folder / "ledger.db", inline=True)
        runtime = FakeRuntime(clock, engine=store.engine_id)
        images = FakeImages()
        info = images.add(BUSYBOX[0])
        runtime.images[info.chain_id] = BUSYBOX[0]
        return cls(store, ledger, clock, runtime, images, tuning=tuning)

    async def close(self) -> None:
        await self.ledger.close()
        await self.store.close()

    def ports(self, world: World | None) -> Ports:
        """The ports of one life of the agent; in a world each call is numbered and may be its last."""

        def wrap(name: str, obj: object) -> object:
            return world.wrap(name, obj) if world else obj

        return Ports(
            store=wrap("store", self.store),  # type: ignore[arg-type]
            ledger=wrap("ledger", self.ledger),  # type: ignore[arg-type]
            runtime=wrap("runtime", self.runtime),  # type: ignore[arg-type]
            images=wrap("images", self.images),  # type: ignore[arg-type]
            sandboxes=wrap("sandboxes", self.sandboxes),  # type: ignore[arg-type]
            files=wrap("files", self.files),  # type: ignore[arg-type]
            paths=FakePaths(self.files),
            logs=wrap("logs", self.logs),  # type: ignore[arg-type]
            host=self.host,
            recorder=self.recorder,
        )

    async def boot(self, world: World | None = None) -> None:
        """The agent's life: the same parts as the real one's, until it is cancelled or killed."""
        self.runtime.agent_died()  # what a former life was told, this one does not know
        ports = self.ports(world)
        clock = world.wrap("clock", self.clock, numbered=False) if world else self.clock
        source = cast(RuntimeSource, ports.runtime)
        loop = registry.assemble(
            ports,
            source,
            clock=clock,
            random=SeededRandom(1),
            log=self.log,
            tuning=self.tuning,
        )
        self.loop = loop
        async with asyncio.TaskGroup() as life:
            life.create_task(loop.view.run())
            for kind in WATCHED:
                life.create_task(loop.informer.follow(kind))
            life.create_task(self._relist(loop, clock))
            while not loop.view.fresh:
                await clock.sleep(0.01)
            await loop.engine.run()

    async def _relist(self, loop: Controllers, clock: SimClock) -> None:
        """As the agent does: the whole list again, once a resync, and every second while containerd does not answer."""
        while True:
            await clock.sleep(self.tuning.resync.total_seconds() if loop.view.fresh else 1.0)
            with suppress(StateError):
                await loop.view.resync()

    # what tests ask

    async def apply(self, name: str, **spec: object) -> None:
        """Declares a container of the busybox image."""
        obj = container(name, **spec)
        from state.store import Apply

        await self.store.apply([Apply(obj, "test", force=True)])

    async def status(self, name: str) -> Object:
        return (await self.store.get(Key("Container", "default", name))).object.get("status") or {}

    async def delete(self, name: str) -> None:
        from state.store import DeleteOptions

        await self.store.delete(Key("Container", "default", name), DeleteOptions())

    def census(self) -> dict[str, object]:
        """Everything that anything of ours occupies, but for stored objects."""
        left = self.runtime.census()
        found: dict[str, object] = {
            "records": left.records,
            "snapshots": left.snapshots,
            "tasks": left.tasks,
            "processes": left.processes,
            **self.sandboxes.census(),
            **self.files.census(),
            "ledger": tuple(self.ledger.list(CONTAINERS)),
            "tombstones": tuple(self.ledger.list(TOMBSTONES)),
        }
        return {name: value for name, value in found.items() if value}


def container(name: str, **spec: object) -> Object:
    """A minimal declaration; ``spec`` fields as in objects.md."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Container",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"image": "busybox:test", "command": ["sleep", "1000000"], "terminationGracePeriodSeconds": 1, **spec},
    }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on memory-backed storage, where there is one."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        yield Path(folder)


def play(story: Callable[[SimulatedNode], Awaitable[None]], tuning: Tuning = Tuning(), *, world: World | None = None) -> None:
    """Runs a story under virtual time, to its end, on a node whose agent lives."""
    with scratch() as folder:

        async def scenario() -> None:
            node = await SimulatedNode.make(folder, tuning)
            living = asyncio.get_running_loop().create_task(node.boot(world))
            try:
                await story(node)
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                await node.close()

        simulate(scenario, 0)
