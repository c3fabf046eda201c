"""Puts the agent together: every driver, every slice, every wire, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from controllers import registry
from controllers.container.bundle import Ports
from controllers.engine.budget import Budget
from controllers.engine.ports import Log
from controllers.node.reconciler import NodeReconciler
from controllers.registry import Controllers, Tuning
from setpoint.api.kinds import Kinds
from setpoint.api.operations import Operations
from setpoint.api.server import ApiServer, ApiSettings
from setpoint.drivers.clock import SystemClock, SystemRandom, Uuids
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.execs import Execs as ExecDriver
from setpoint.drivers.containerd.images import ImageStore
from setpoint.drivers.containerd.runtime import Containerd
from setpoint.drivers.files import Files
from setpoint.drivers.hostpaths import HostFolders
from setpoint.drivers.images.node import Hooks, NodeImages
from setpoint.drivers.keeper import KeeperClient
from setpoint.drivers.netns import NetworkNamespaces
from setpoint.drivers.pump import Pump
from setpoint.drivers.threads import DisposableThreads
from setpoint.hosting import NodeFacts, ThisHost
from setpoint.identity import recall, remember
from setpoint.operations.containers import ContainerActs
from setpoint.operations.images import ImageActs, users
from setpoint.operations.node import NodeActs
from setpoint.operations.orphans import OrphanActs
from setpoint.operations.planning import Planner
from setpoint.recording import EventRecorder
from setpoint.sessions.execs import Execs
from setpoint.sessions.opening import Sessions
from setpoint.settings import Settings
from state.objects import Object
from state.resources.node import starts_per_second
from state.resources.placement import admit_on
from state.sqlite.ledger import SqliteLedger
from state.sqlite.store import Options, SqliteStore

PASS_DEADLINE = timedelta(seconds=120)
"""A pass may make, start and stop; a hung call gives its slot back after that, and its key stays with it."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts that live as long as the agent."""

    settings: Settings
    clock: SystemClock
    store: SqliteStore
    ledger: SqliteLedger
    keeper: KeeperClient
    channel: Channel
    containerd: Containerd
    loop: Controllers
    recorder: EventRecorder
    acts: NodeActs
    api: ApiServer


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all the rest stands on: the files of this node, its images, and the ways to containerd and the keeper."""

    settings: Settings
    clock: SystemClock
    store: SqliteStore
    ledger: SqliteLedger
    channel: Channel
    containerd: Containerd
    images: NodeImages
    pump: Pump
    threads: DisposableThreads
    host: ThisHost
    facts: NodeFacts

    @property
    def folders(self) -> tuple[Path, Path]:
        return self.settings.data_dir, self.settings.run_dir


async def assemble(settings: Settings) -> Assembly:
    """Opens store and ledger, and wires everything; nothing runs yet. Raises what the stores raise."""
    log = structlog.get_logger("setpoint")
    ground = await _open(settings)
    recorder = EventRecorder(ground.store, ground.clock, log, settings.name)
    ports = _ports(ground, recorder)
    loop = _loop(ground, ports, log)
    acts = _acts(ground, ports, loop)
    return Assembly(
        settings=settings,
        clock=ground.clock,
        store=ground.store,
        ledger=ground.ledger,
        keeper=KeeperClient(*ground.folders, containerd=settings.containerd_program, log_links=settings.links),
        channel=ground.channel,
        containerd=ground.containerd,
        loop=loop,
        recorder=recorder,
        acts=acts,
        api=ApiServer(
            ApiSettings(settings.run_dir / "api.sock", settings.gid),
            store=ground.store,
            operations=_operations(ground, ports, loop, acts),
            kinds=Kinds(),
            now=ground.clock.now,
        ),
    )


async def _open(settings: Settings) -> _Ground:
    clock = SystemClock()
    here = Options(admit=admit_on(settings.name), engine_id=recall(settings.data_dir))
    store = await SqliteStore.open(settings.data_dir / "store.db", clock=clock, ids=Uuids(), options=here)
    remember(settings.data_dir, store.engine_id)
    ledger = await SqliteLedger.open(settings.data_dir / "ledger.db")
    channel = Channel(_address(settings))
    hooks = Hooks(used_by=partial(users, ledger))
    host = ThisHost(clock, (settings.data_dir, settings.run_dir))
    return _Ground(
        settings=settings,
        clock=clock,
        store=store,
        ledger=ledger,
        channel=channel,
        containerd=Containerd(channel, store.engine_id),
        images=NodeImages(ImageStore(channel), settings.run_dir, settings.data_dir, clock, SystemRandom(), hooks=hooks),
        pump=Pump(settings.run_dir),
        threads=DisposableThreads("paths"),
        host=host,
        facts=NodeFacts(host, store.engine_id),
    )


def _address(settings: Settings) -> str:
    return settings.containerd or str(settings.run_dir / "containerd" / "containerd.sock")


def _ports(ground: _Ground, recorder: EventRecorder) -> Ports:
    return Ports(
        store=ground.store,
        ledger=ground.ledger,
        runtime=ground.containerd,
        images=ground.images,
        sandboxes=NetworkNamespaces(ground.settings.run_dir / "netns"),
        files=Files(*ground.folders, seed=ground.images.seed, others=ground.threads),
        paths=HostFolders(ground.threads),
        logs=ground.pump,
        host=ground.host,
        recorder=recorder,
    )


def _loop(ground: _Ground, ports: Ports, log: Log) -> Controllers:
    settings, store, clock = ground.settings, ground.store, ground.clock
    return registry.assemble(
        ports,
        ground.containerd,
        clock=clock,
        random=SystemRandom(),
        log=log,
        tuning=Tuning(settings.resync, PASS_DEADLINE, settings.slots, settings.start_budget),
        own=lambda budget: [NodeReconciler(store, ground.facts, settings.name, partial(_obey, budget), clock)],
    )


def _obey(budget: Budget, spec: Object) -> None:
    """What the Node's spec asks of the agent."""
    budget.tune(starts_per_second(spec.get("startBudget") or "4/s"))


def _acts(ground: _Ground, ports: Ports, loop: Controllers) -> NodeActs:
    return NodeActs(
        planner=Planner(ports, loop.view, ground.clock),
        store=ground.store,
        view=loop.view,
        engine=loop.engine,
        reconciler=loop.containers,
        facts=ground.facts,
        clock=ground.clock,
        threads=ground.threads,
        folders=ground.folders,
        containerd=_address(ground.settings),
        private=not ground.settings.containerd,
    )


def _operations(ground: _Ground, ports: Ports, loop: Controllers, acts: NodeActs) -> Operations:
    driver = ExecDriver(ground.channel)
    execs = Execs(driver, ground.settings.run_dir / "exec")
    execs.sweep()
    sessions = Sessions(ground.settings.data_dir, ground.containerd, driver, execs, ground.pump, ground.clock)
    return Operations(
        containers=ContainerActs(ports, loop.view, loop.engine, ground.clock, sessions),
        images=ImageActs(ground.images),
        orphans=OrphanActs(loop.sweep, ground.store),
        node=acts,
    )
