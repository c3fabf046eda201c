"""Puts the agent together: every driver, every slice, every wire, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from controllers import registry
from controllers.container.bundle import Ports
from controllers.engine.budget import Budget
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


def obey(budget: Budget, spec: Object) -> None:
    """What the Node's spec asks of the agent."""
    budget.tune(starts_per_second(spec.get("startBudget") or "4/s"))


async def assemble(settings: Settings) -> Assembly:
    """Opens store and ledger, and wires everything; nothing runs yet. Raises what the stores raise."""
    clock, log = SystemClock(), structlog.get_logger("setpoint")
    here = Options(admit=admit_on(settings.name), engine_id=recall(settings.data_dir))
    store = await SqliteStore.open(settings.data_dir / "store.db", clock=clock, ids=Uuids(), options=here)
    remember(settings.data_dir, store.engine_id)
    ledger = await SqliteLedger.open(settings.data_dir / "ledger.db")
    address = settings.containerd or str(settings.run_dir / "containerd" / "containerd.sock")
    channel = Channel(address)
    containerd = Containerd(channel, store.engine_id)
    hooks = Hooks(used_by=partial(users, ledger))
    images = NodeImages(ImageStore(channel), settings.run_dir, settings.data_dir, clock, SystemRandom(), hooks=hooks)
    threads, host, pump = (
        DisposableThreads("paths"),
        ThisHost(clock, (settings.data_dir, settings.run_dir)),
        Pump(settings.run_dir),
    )
    recorder = EventRecorder(store, clock, log, settings.name)
    ports = Ports(
        store=store,
        ledger=ledger,
        runtime=containerd,
        images=images,
        sandboxes=NetworkNamespaces(settings.run_dir / "netns"),
        files=Files(settings.data_dir, settings.run_dir, seed=images.seed, others=threads),
        paths=HostFolders(threads),
        logs=pump,
        host=host,
        recorder=recorder,
    )
    facts = NodeFacts(host, store.engine_id)
    loop = registry.assemble(
        ports,
        containerd,
        clock=clock,
        random=SystemRandom(),
        log=log,
        tuning=Tuning(settings.resync, PASS_DEADLINE, settings.slots, settings.start_budget),
        own=lambda budget: [NodeReconciler(store, facts, settings.name, partial(obey, budget), clock)],
    )
    acts = NodeActs(
        planner=Planner(ports, loop.view, clock),
        store=store,
        view=loop.view,
        engine=loop.engine,
        reconciler=loop.containers,
        facts=facts,
        clock=clock,
        threads=threads,
        folders=(settings.data_dir, settings.run_dir),
        containerd=address,
        private=not settings.containerd,
    )
    driver = ExecDriver(channel)
    execs = Execs(driver, settings.run_dir / "exec")
    execs.sweep()
    sessions = Sessions(settings.data_dir, containerd, driver, execs, pump, clock)
    operations = Operations(
        containers=ContainerActs(ports, loop.view, loop.engine, clock, sessions),
        images=ImageActs(images),
        orphans=OrphanActs(loop.sweep, store),
        node=acts,
    )
    api = ApiServer(
        ApiSettings(settings.run_dir / "api.sock", settings.gid),
        store=store,
        operations=operations,
        kinds=Kinds(),
        now=clock.now,
    )
    return Assembly(
        settings=settings,
        clock=clock,
        store=store,
        ledger=ledger,
        keeper=KeeperClient(
            settings.data_dir, settings.run_dir, containerd=settings.containerd_program, log_links=settings.links
        ),
        channel=channel,
        containerd=containerd,
        loop=loop,
        recorder=recorder,
        acts=acts,
        api=api,
    )
