"""A life of several containers, drawn by a seed: what people and the node do to them, in a world of faults, and what must hold.

report = lives(range(100))
assert not report.failures, report
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from setpoint.testing.crashing import World
from setpoint.testing.faults import FAULTS, OK, Call, Drawn, Fault, Verdict
from setpoint.testing.simloop import Mode
from setpoint.testing.simulated_node import SimulatedNode, container, scratch
from setpoint.testing.sweeping import Report, Runner, Scenario
from setpoint.testing.witness import Witness
from state.errors import NotFound
from state.objects import Key, Object
from state.store import Apply, DeleteOptions

NAMES = ("a", "b", "c")
BYSTANDER = "bystander"
CALM_S = 260.0
"""Virtual seconds after the last fault: a hung pass's deadline, the longest back-off and a resync fit in."""
QUIET_S = 130.0
VOLUMES: Object = {
    "volumes": [
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "cert", "secret": {"secretName": "cert"}},
        {"name": "work", "emptyDir": {}},
    ],
    "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("conf", "cert", "work")],
}


KEPT_PROMISES = tuple(v for v in FAULTS if v is not Verdict.HANG)
"""What ports may do: every driver's call ends, if only with InDoubt."""


_NOT_THERE = (Verdict.LATE, Verdict.SLOW)


class Promised:
    """A schedule that keeps the promises of the ports: what does not await cannot fail, files are made by threads of the agent
    itself, which die with it, and the ledger writes in order."""

    def __init__(self, drawn: Drawn) -> None:
        self._drawn = drawn

    def fault(self, call: Call) -> Fault:
        fault = self._drawn.fault(call)
        if call.kind == "sync" or (call.port in ("files", "sandboxes", "ledger") and fault.verdict in _NOT_THERE):
            return OK
        return fault


@dataclass(slots=True)
class Declared:
    """What the script last asked for under one name; ``spec`` None: that it goes."""

    spec: dict[str, Any] | None = None
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Life:
    """One run: the node, the declarations, and the dice."""

    node: SimulatedNode
    runtime: Witness
    dice: random.Random
    declared: dict[str, Declared] = field(default_factory=lambda: {name: Declared() for name in NAMES})
    stamp: int = 0

    async def act(self) -> None:
        """One thing that happens."""
        name = self.dice.choice(NAMES)
        deed = self.dice.choice((self.declare, self.declare, self.restart, self.delete, self.kill, self.kill, self.containerd))
        await deed(name)
        await asyncio.sleep(self.dice.choice((0.0, 0.3, 3.0, 15.0)))

    async def declare(self, name: str) -> None:
        """Creates it, or changes one thing of it."""
        now = self.declared[name]
        if now.spec is None:
            now.spec = {"runState": self.dice.choice(("Running", "Running", "Paused", "Stopped"))}
            now.spec |= VOLUMES if name == "a" else {}
            now.notes = {}
        else:
            self.stamp += 1
            change: dict[str, Any] = self.dice.choice(
                (
                    {"runState": self.dice.choice(("Running", "Paused", "Stopped"))},
                    {"env": [{"name": "A", "value": str(self.stamp)}]},
                    {"resources": {"limits": {"memory": f"{64 + self.stamp}Mi"}}},
                    {"terminationGracePeriodSeconds": self.dice.choice((0, 1, 5))},
                )
            )
            now.spec |= change
        await self._apply(name)

    async def restart(self, name: str) -> None:
        now = self.declared[name]
        if now.spec is not None:
            self.stamp += 1
            now.notes["setpoint.dev/restartedAt"] = f"2026-01-01T00:00:00.{self.stamp:06}Z"
            await self._apply(name)

    async def delete(self, name: str) -> None:
        self.declared[name].spec = None
        try:
            await self.node.store.delete(Key("Container", "default", name), DeleteOptions())
        except NotFound:
            return

    async def kill(self, name: str) -> None:
        """Somebody on the host kills its process, its shim, its task or its record."""
        mine = [id for id, task in self.runtime.tasks.items() if self._named(id) == name and task.exit is None]
        if mine:
            how = self.dice.choice((self.runtime.kill_process, self.runtime.kill_process, self.runtime.kill_shim))
            how(mine[0])

    async def containerd(self, name: str) -> None:
        self.runtime.leave()
        await asyncio.sleep(self.dice.choice((0.0, 2.0)))
        self.runtime.come_back()

    async def _apply(self, name: str) -> None:
        """A former one of that name may still be on its way out: then again when it is gone."""
        now = self.declared[name]
        key = Key("Container", "default", name)
        for _ in range(600):
            try:
                if not (await self.node.store.get(key)).object["metadata"].get("deletionTimestamp"):
                    break
            except NotFound:
                break
            await asyncio.sleep(0.5)
        obj = container(name, **(now.spec or {}))
        obj["metadata"]["annotations"] = now.notes
        await self.node.store.apply([Apply(obj, "test", force=True)])

    def _named(self, id: str) -> str:
        record = self.runtime.records.get(id)
        return record.new.name if record else ""

    # what must hold at the end

    async def check(self) -> None:
        assert not self.runtime.wrong, self.runtime.wrong
        uids = {name: await self._uid(name) for name in (*NAMES, BYSTANDER)}
        self._check_census({uid.replace("-", "") for uid in uids.values() if uid})
        for name in NAMES:
            if self.declared[name].spec is None:
                assert not uids[name], f"{name} was deleted and is there"
            else:
                await self._check_one(name, uids[name].replace("-", ""), self.declared[name].spec or {})

    def _check_census(self, known: set[str]) -> None:
        for sort, left in self.node.census().items():
            for item in left if isinstance(left, (list, tuple)) else [left]:
                text = str(item).replace("-", "")
                assert any(uid in text for uid in known), f"left over: {sort} {item}"
        assert not self.node.ledger.list("tombstones"), "a tombstone is left"

    async def _check_one(self, name: str, mine: str, spec: dict[str, Any]) -> None:
        status = await self.node.status(name)
        told = {c["type"]: c for c in status["conditions"]}
        assert "ReconcileFailed" not in told, (name, status)
        tasks = {id: task for id, task in self.runtime.tasks.items() if id.startswith(mine)}
        if spec["runState"] == "Stopped":
            assert not tasks, (name, tasks)
            assert status["phase"] in ("Exited", "Created"), (name, status)
            return
        assert len(tasks) == 1, (name, tasks, status)
        ((id, task),) = tasks.items()
        assert task.state == ("PAUSED" if spec["runState"] == "Paused" else "RUNNING"), (name, task.state, status)
        assert (status["pid"], status["containerID"]) == (task.pid, id), (name, status)
        assert [i for i in self.runtime.records if i.startswith(mine)] == [id], (name, self.runtime.records)
        assert status["restartCount"] <= self.runtime.deaths[mine], (name, status, self.runtime.deaths)
        self._check_as_declared(name, id, spec, "ReplacementFailed" in told)

    def _check_as_declared(self, name: str, id: str, spec: dict[str, Any], failed: bool) -> None:
        new = self.runtime.records[id].new
        if not failed:
            env = [entry for entry in new.spec["process"]["env"] if entry.startswith("A=")]
            assert env == [f"A={entry['value']}" for entry in spec.get("env", ())], (name, env, spec)
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        if limit:
            task = self.runtime.tasks[id]
            found = task.resources.get("memory") or new.spec["linux"]["resources"].get("memory") or {}
            assert found.get("limit") == int(limit.removesuffix("Mi")) << 20, (name, found, limit)

    async def _uid(self, name: str) -> str:
        try:
            return (await self.node.store.get(Key("Container", "default", name))).uid
        except NotFound:
            return ""


def drawn_life(seed: int, deeds: int = 12) -> Scenario:
    """The scenario of one seed."""

    async def run(world: World) -> None:
        with scratch() as folder:
            node, runtime = await witnessed(folder)
            life = Life(node, runtime, random.Random(seed))
            pid = await _prepare(node, runtime)
            living = asyncio.get_running_loop().create_task(world.survive(lambda: node.boot(world)))
            try:
                for _ in range(deeds):
                    await life.act()
                await asyncio.sleep(5)
                world.calm()
                await asyncio.sleep(CALM_S)
                (now,) = (t.pid for i, t in runtime.tasks.items() if runtime.records[i].new.name == BYSTANDER)
                assert now == pid, "the bystander was restarted"
                await life.check()
                await at_rest(node, runtime)
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                await node.close()

    return run


async def witnessed(folder: Any) -> tuple[SimulatedNode, Witness]:
    """A node whose runtime watches."""
    node = await SimulatedNode.make(folder)
    runtime = Witness(node.clock, node.ledger, engine=node.store.engine_id)
    runtime.images = node.runtime.images
    node.runtime = runtime
    return node, runtime


async def at_rest(node: SimulatedNode, runtime: Witness, seconds: float = QUIET_S) -> None:
    """Nothing is written and nothing on the node is changed any more."""
    before = node.store.revision, node.ledger.database.counters.commits, runtime.changes
    await asyncio.sleep(seconds)
    assert (node.store.revision, node.ledger.database.counters.commits, runtime.changes) == before, "it does not come to rest"


def small_objects() -> list[Object]:
    """The ConfigMap and the Secret that the volumes refer to."""
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "default"}, "data": {"k": "v"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert", "namespace": "default"}, "data": {"k": "dg=="}},
    ]


async def _prepare(node: SimulatedNode, runtime: Witness, setup: Act | None = None) -> int:
    quiet = asyncio.get_running_loop().create_task(node.boot())
    for obj in small_objects():
        await node.store.apply([Apply(obj, "test", force=True)])
    await node.apply(BYSTANDER)
    if setup is not None:
        await setup(node)
    await asyncio.sleep(20)
    quiet.cancel()
    await asyncio.gather(quiet, return_exceptions=True)
    (pid,) = (task.pid for id, task in runtime.tasks.items() if runtime.records[id].new.name == BYSTANDER)
    return pid


def lives(
    seeds: Iterable[int], *, verdicts: tuple[Verdict, ...] = KEPT_PROMISES, rate: float = 0.05, mode: Mode = Mode.LEGAL
) -> Report:
    """One drawn life per seed, with faults drawn by the same."""
    report = Report()
    for seed in seeds:
        runner = Runner(drawn_life(seed), seed, mode)
        schedule = Promised(Drawn(seed, rate=rate, verdicts=verdicts))
        runner.run_into(report, schedule, f"{mode.value} seed={seed} rate={rate}")
    return report


Act = Callable[[SimulatedNode], Awaitable[None]]
SETTLE_S = 70.0
"""Virtual seconds in which one disturbed verb comes to its end: two resyncs fit in."""
REST_S = 40.0


def verb(act: Act, check: Act, *, setup: Act | None = None, unseen: Act | None = None) -> Scenario:
    """A scenario for :func:`setpoint.testing.sweeping.sweep`. A bystander runs; ``setup`` without faults; ``unseen`` while no
    agent lives; then ``act`` in a world that kills, and ``check`` when it has calmed down and come to rest."""

    async def run(world: World) -> None:
        with scratch() as folder:
            node, runtime = await witnessed(folder)
            pid = await _prepare(node, runtime, setup)
            if unseen is not None:
                await unseen(node)
            living = asyncio.get_running_loop().create_task(world.survive(lambda: node.boot(world)))
            try:
                await act(node)
                await asyncio.sleep(25)
                world.calm()
                await asyncio.sleep(SETTLE_S)
                assert not runtime.wrong, runtime.wrong
                (now,) = (t.pid for i, t in runtime.tasks.items() if runtime.records[i].new.name == BYSTANDER)
                assert now == pid, "the bystander was restarted"
                await check(node)
                await at_rest(node, runtime, REST_S)
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                await node.close()

    return run
