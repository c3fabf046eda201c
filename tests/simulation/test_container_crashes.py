"""A crash before, after and with a lost reply at every port call of create, replace, stop and remove.

Each run converges to the state of the undisturbed one, with nothing left over, and no healthy container is restarted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from setpoint.testing.crashing import World
from setpoint.testing.faults import Verdict
from setpoint.testing.simulated_node import SimulatedNode, scratch
from setpoint.testing.sweeping import Scenario, sweep

MODES = (Verdict.BEFORE, Verdict.AFTER, Verdict.LOST)
SETTLE_S = 130.0
"""Virtual seconds after the faults end; a hung key's deadline and a resync fit in."""
BYSTANDER = "bystander"

Act = Callable[[SimulatedNode], Awaitable[None]]
Check = Callable[[SimulatedNode], Awaitable[None]]


def scenario(setup: Act, act: Act, check: Check) -> Scenario:
    """A bystander runs; ``setup`` without faults; then ``act`` in a world that kills, and ``check`` when it has calmed down."""

    async def run(world: World) -> None:
        with scratch() as folder:
            node = await SimulatedNode.make(folder)
            await _prepare(node, setup)
            pid = _pid(node, await _uid(node, BYSTANDER))
            living = asyncio.get_running_loop().create_task(world.survive(lambda: node.boot(world)))
            await act(node)
            await asyncio.sleep(30)
            world.calm()
            await asyncio.sleep(SETTLE_S)
            try:
                assert _pid(node, await _uid(node, BYSTANDER)) == pid, "the bystander was restarted"
                await check(node)
                await _at_rest(node)
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
                await node.close()

    return run


async def _prepare(node: SimulatedNode, setup: Act) -> None:
    quiet = asyncio.get_running_loop().create_task(node.boot())
    await node.apply(BYSTANDER)
    await setup(node)
    await asyncio.sleep(20)
    quiet.cancel()
    await asyncio.gather(quiet, return_exceptions=True)


async def _at_rest(node: SimulatedNode) -> None:
    before = node.store.revision, node.ledger.database.counters.commits
    await asyncio.sleep(120)
    assert (node.store.revision, node.ledger.database.counters.commits) == before, "it does not come to rest"


async def _uid(node: SimulatedNode, name: str) -> str:
    from state.objects import Key

    return (await node.store.get(Key("Container", "default", name))).uid


def _pid(node: SimulatedNode, uid: str) -> int:
    (pid,) = (task.pid for id, task in node.runtime.tasks.items() if id.startswith(uid.replace("-", "")))
    return pid


async def nothing(_node: SimulatedNode) -> None:
    """No setup."""


async def one_of(node: SimulatedNode, name: str, revision: int) -> None:
    """Exactly one record, snapshot, task and sandbox of it; status shows it."""
    uid = await _uid(node, name)
    id = f"{uid.replace('-', '')}-{revision}"
    mine = uid.replace("-", "")
    assert [i for i in node.runtime.records if i.startswith(mine)] == [id]
    assert [i for i in node.runtime.snapshots if i.startswith(mine)] == [id]
    assert [i for i in node.runtime.tasks if i.startswith(mine)] == [id]
    assert node.runtime.tasks[id].state == "RUNNING"
    status = await node.status(name)
    assert (status["phase"], status["revision"]) == ("Running", revision)
    assert status["pid"] == node.runtime.tasks[id].pid


async def create(node: SimulatedNode) -> None:
    await node.apply("web")


async def created(node: SimulatedNode) -> None:
    await one_of(node, "web", 1)


async def replace(node: SimulatedNode) -> None:
    await node.apply("web", env=[{"name": "A", "value": "1"}])


async def replaced(node: SimulatedNode) -> None:
    uid = await _uid(node, "web")
    mine = uid.replace("-", "")
    (id,) = (i for i in node.runtime.tasks if i.startswith(mine))
    await one_of(node, "web", int(id.rpartition("-")[2]))
    new = node.runtime.records[id].new
    assert "A=1" in new.spec["process"]["env"]


async def stop(node: SimulatedNode) -> None:
    await node.apply("web", runState="Stopped")


async def stopped(node: SimulatedNode) -> None:
    uid = await _uid(node, "web")
    mine = uid.replace("-", "")
    assert not [i for i in node.runtime.tasks if i.startswith(mine)]
    status = await node.status("web")
    assert status["phase"] == "Exited"
    assert status["lastExit"]["requested"]
    assert status["lastExit"]["exitCode"] == 137


async def remove(node: SimulatedNode) -> None:
    await node.delete("web")


async def removed(node: SimulatedNode) -> None:
    """Closed world: what is left belongs to the bystander."""
    keep = (await _uid(node, BYSTANDER)).replace("-", "")
    for sort, left in node.census().items():
        for item in left if isinstance(left, (list, tuple)) else [left]:
            text = str(item).replace("-", "")
            assert sort == "processes" or keep in text, (sort, item)


async def crash(node: SimulatedNode) -> None:
    mine = (await _uid(node, "web")).replace("-", "")
    (id,) = (i for i in node.runtime.tasks if i.startswith(mine))
    node.runtime.kill_process(id)


async def restarted(node: SimulatedNode) -> None:
    await one_of(node, "web", 1)
    status = await node.status("web")
    assert status["restartCount"] == 1
    assert (status["lastExit"]["exitCode"], status["lastExit"]["reason"]) == (137, "Error")


SCENARIOS = {
    "create": scenario(nothing, create, created),
    "replace": scenario(create, replace, replaced),
    "stop": scenario(create, stop, stopped),
    "remove": scenario(create, remove, removed),
    "crash": scenario(create, crash, restarted),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_single_crash_converges(name: str, record_property: Callable[[str, object], None]) -> None:
    report = sweep(SCENARIOS[name], modes=MODES)
    record_property("runs", report.runs)
    print(f"{name}: {report.runs} runs, {len(report.points)} points, {report.calls} calls")
    assert not report.failures, report
    assert report.runs > 2 * len(report.points), "an event has no reply to lose; every call has"


def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep is no decoration: reaping a task before its exit is on record loses the exit in some crash."""
    from controllers.container import decide as deciding
    from controllers.container.model import Plan, Reap, Remember, Situation
    from controllers.container.rules.collecting import collecting

    def careless(s: Situation) -> Plan | None:
        plan = collecting(s)
        if plan is not None and len(plan.steps) == 2 and isinstance(plan.steps[1], Reap):
            first, second = plan.steps
            assert isinstance(first, Remember)
            return Plan((second, first))
        return plan

    rules = tuple(careless if rule is collecting else rule for rule in deciding.RULES)
    monkeypatch.setattr(deciding, "RULES", rules)
    assert sweep(SCENARIOS["crash"], modes=MODES).failures
