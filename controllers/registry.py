"""The one list of what reconciles on a node, and how it hangs together. Used by the agent and, unchanged, by simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from controllers.container.act import Actor
from controllers.container.bundle import Ports
from controllers.container.informing import Informer
from controllers.container.observe import Observer, Written
from controllers.container.ports import RuntimeSource
from controllers.container.reconciler import ContainerReconciler
from controllers.container.sweep import Sweep
from controllers.container.view import RuntimeView
from controllers.engine.budget import Budget
from controllers.engine.engine import Engine
from controllers.engine.ports import Clock, Log, Random
from controllers.node.reconciler import NodeReconciler

WATCHED = ("Container", "ConfigMap", "Secret", "Node")
"""Kinds whose changes are followed."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """``resync``: between two full looks. ``deadline``: of one pass; a hung call gives its slot back after that and keeps its
    key. ``start_budget``: automatic restarts a second on the whole node."""

    resync: timedelta = timedelta(seconds=30)
    deadline: timedelta = timedelta(seconds=120)
    concurrency: int = 8
    start_budget: float = 4.0


@dataclass(frozen=True, slots=True)
class Controllers:
    """What reconciles, to be run: ``engine.run``, ``view.run`` and ``informer.follow`` of each watched kind."""

    engine: Engine
    view: RuntimeView
    informer: Informer
    containers: ContainerReconciler
    sweep: Sweep


def assemble(
    ports: Ports,
    source: RuntimeSource,
    *,
    clock: Clock,
    random: Random,
    log: Log,
    tuning: Tuning = Tuning(),
    own: Callable[[Budget], Sequence[NodeReconciler]] = lambda _budget: (),
) -> Controllers:
    """Everything that reconciles over these ports. Nothing runs yet; needs a running loop."""
    engine = Engine(clock=clock, random=random, log=log, concurrency=tuning.concurrency, deadline=tuning.deadline)
    informer = Informer(ports.store, engine.enqueue, clock, log)
    view = RuntimeView(source, ports.runtime, clock, log, informer.wake)
    written: Written = {}
    budget = Budget(clock, rate=tuning.start_budget)
    actor = Actor(ports, view, budget, written)
    containers = ContainerReconciler(ports, Observer(ports, view, written), actor, clock)
    sweep = Sweep(ports, view, log)
    engine.add(containers, keys=informer.keys, resync=tuning.resync)
    engine.add(sweep, keys=sweep.keys, resync=tuning.resync)
    for reconciler in own(budget):
        engine.add(reconciler, keys=reconciler.keys, resync=tuning.resync)
    return Controllers(engine, view, informer, containers, sweep)
