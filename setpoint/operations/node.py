"""The agent as a whole, for the API: plan, info, doctor, readiness, and the halt before the host goes down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controllers.container.declare import declare
from controllers.container.model import LIVE
from controllers.container.reconciler import ContainerReconciler
from controllers.container.view import RuntimeView
from controllers.engine.engine import Engine
from controllers.engine.ports import Clock
from setpoint import __version__
from setpoint.api.operations import Check, ObjectPlan
from setpoint.drivers.doctor import checks
from setpoint.drivers.threads import DisposableThreads
from setpoint.hosting import NodeFacts
from setpoint.operations.planning import Planner
from state.objects import Object
from state.store import Selection, StoreReader

HALT_POLL_S = 0.1


@dataclass(slots=True)
class NodeActs:
    """Implements ``NodeOperations``."""

    planner: Planner
    store: StoreReader
    view: RuntimeView
    engine: Engine
    reconciler: ContainerReconciler
    facts: NodeFacts
    clock: Clock
    threads: DisposableThreads
    folders: tuple[Path, Path]
    containerd: str
    private: bool

    async def plan(self, objects: Sequence[Object]) -> Sequence[ObjectPlan]:
        return await self.planner.plan(objects)

    async def info(self) -> Object:
        declared = (await self.store.list(Selection("Container"))).items
        snapshot = self.engine.snapshot()
        return {
            "version": __version__,
            "dataDir": str(self.folders[0]),
            "runDir": str(self.folders[1]),
            "containerd": {"address": self.containerd, "connected": self.view.fresh},
            "containers": {"declared": len(declared), "running": self.running()},
            "loop": {
                "running": len(snapshot.running),
                "queued": len(snapshot.queued),
                "waiting": len(snapshot.waiting),
                "overdue": len(snapshot.overdue),
                "concurrency": snapshot.concurrency,
            },
            "node": dict(self.facts.describe()),
        }

    async def doctor(self) -> Sequence[Check]:
        return [
            Check(c["name"], c["ok"], c["found"], c["need"], c["severity"])
            for c in await self.threads.run("doctor", lambda: checks(*self.folders, private_containerd=self.private), 30.0)
        ]

    async def ready(self) -> Sequence[Check]:
        return (
            Check("containerd", self.view.fresh, need="a connection and a complete list"),
            Check("adopted", self.engine.booted, need="one look at every object"),
        )

    def running(self) -> int:
        return sum(1 for i in self.view.all() if i.task in LIVE)

    async def halt(self) -> int:
        """Stops what runs, within each one's grace period, and lets nothing start until the agent is started again.
        Returns how many were stopped."""
        self.reconciler.halting = True
        running = {i.uid for i in self.view.all() if i.task in LIVE}
        declared = (await self.store.list(Selection("Container"))).items
        running &= {s.uid for s in declared if not declare(s.object, self.clock.now()).held}
        for stored in declared:
            self.engine.enqueue(stored.key)
        while any(i.task in LIVE and i.uid in running for i in self.view.all()):
            await self.clock.sleep(HALT_POLL_S)
        return len(running)
