"""More verbs of a container's life, each with a crash before, after and with a lost reply at every port call, and again in the
recovery from the first. ``SETPOINT_SWEEP_SECOND`` (default 1): how many calls of each recovery are hit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from setpoint.testing.container_life import BYSTANDER, VOLUMES, verb
from setpoint.testing.fake_programs import IGNORE, Program
from setpoint.testing.faults import Verdict
from setpoint.testing.simulated_node import SimulatedNode
from setpoint.testing.sweeping import sweep
from state.errors import NotFound
from state.ledger import TOMBSTONES
from state.objects import Key, Object
from state.store import DeleteOptions

SECOND = int(os.environ.get("SETPOINT_SWEEP_SECOND", "1"))
MODES = (Verdict.BEFORE, Verdict.AFTER, Verdict.LOST)
WEB = Key("Container", "default", "web")
Act = Callable[[SimulatedNode], Awaitable[None]]


def applies(**spec: object) -> Act:
    async def act(node: SimulatedNode) -> None:
        await node.apply("web", **spec)

    return act


def notes(name: str, value: str) -> Act:
    async def act(node: SimulatedNode) -> None:
        patch: Object = {"metadata": {"annotations": {f"setpoint.dev/{name}": value}}}
        await node.store.patch(WEB, patch, manager="test")

    return act


def then(*acts: Act, pause: float = 1.0) -> Act:
    async def act(node: SimulatedNode) -> None:
        for each in acts:
            await each(node)
            await asyncio.sleep(pause)

    return act


async def delete(node: SimulatedNode) -> None:
    await node.delete("web")


async def force_delete(node: SimulatedNode) -> None:
    await node.store.delete(WEB, DeleteOptions(options={"gracePeriodSeconds": 0}))


async def restart_containerd(node: SimulatedNode) -> None:
    node.runtime.restart_containerd()


async def kill(node: SimulatedNode) -> None:
    node.runtime.kill_process(_only(node))


async def kill_shim(node: SimulatedNode) -> None:
    node.runtime.kill_shim(_only(node))


async def half_made(node: SimulatedNode) -> None:
    """A life of the agent that died between Create and Start of the task."""
    node.runtime.tasks[_only(node)].state = "CREATED"


async def programs(node: SimulatedNode) -> None:
    node.runtime.programs |= {
        "polite": Program(runs_s=float("inf"), handlers={15: 0}),
        "deaf": Program(runs_s=float("inf"), handlers={15: IGNORE}),
        "job": Program(runs_s=2.0, code=4),
    }


def _mine(node: SimulatedNode) -> list[str]:
    return [id for id in node.runtime.tasks if node.runtime.records[id].new.name == "web"]


def _only(node: SimulatedNode) -> str:
    (id,) = _mine(node)
    return id


async def gone(node: SimulatedNode) -> None:
    with pytest.raises(NotFound):
        await node.store.get(WEB)
    for _ in range(200):  # a tombstone stays while a call in doubt may still come to be
        if not node.ledger.list(TOMBSTONES):
            break
        await asyncio.sleep(1)
    keep = (await node.store.get(Key("Container", "default", BYSTANDER))).uid.replace("-", "")
    for sort, left in node.census().items():
        for item in left if isinstance(left, (list, tuple)) else [left]:
            assert keep in str(item).replace("-", ""), (sort, item)


def shown(state: str = "RUNNING", **fields: object) -> Act:
    """One task in that state, truly shown, with these fields in its status (``exit.x`` of the last exit)."""

    async def check(node: SimulatedNode) -> None:
        id = _only(node)
        task, status = node.runtime.tasks[id], await node.status("web")
        assert (task.state, status["pid"], status["containerID"]) == (state, task.pid, id)
        assert "ReconcileFailed" not in {c["type"] for c in status["conditions"]}
        _compare(status, fields)

    return check


def ended(**fields: object) -> Act:
    async def check(node: SimulatedNode) -> None:
        assert not _mine(node)
        _compare(await node.status("web"), fields)

    return check


def _compare(status: Object, fields: dict[str, object]) -> None:
    last = status.get("lastExit") or {}
    told = {name: last.get(name[5:]) if name.startswith("exit_") else status.get(name) for name in fields}
    assert told == fields, status


async def with_files(node: SimulatedNode) -> None:
    await shown(phase="Running", restartCount=0)(node)
    uid = (await node.store.get(WEB)).uid
    assert node.files.tree(uid, "tree", "conf") == {"k": (b"v", 0o644)}
    assert node.files.tree(uid, "volatile", "cert") == {"k": (b"v", 0o644)}
    assert node.files.emptydir(uid, "work") == ""
    sources = {m["source"] for m in node.runtime.records[_only(node)].new.spec["mounts"] if m["destination"] == "/data"}
    assert len(sources) == 1, "the image's VOLUME"


async def volume_image(node: SimulatedNode) -> None:
    info = node.images.add("volumes:1", {"config": {"Volumes": {"/data": {}}}})
    node.runtime.images[info.chain_id] = "volumes:1"


async def put_back(node: SimulatedNode) -> None:
    await shown(phase="Running", revision=1, observedGeneration=2)(node)
    told = {c["type"]: c["message"] for c in (await node.status("web"))["conditions"]}
    assert "nothing-here" in told["ReplacementFailed"]
    assert len([r for r in node.runtime.records.values() if r.new.name == "web"]) == 1


RUNNING = then(programs, applies())
POLITE = then(programs, applies(command=["polite"], terminationGracePeriodSeconds=-1))
DEAF = then(programs, applies(command=["deaf"], terminationGracePeriodSeconds=600))

VERBS = {
    "files": verb(applies(image="volumes:1", **VOLUMES), with_files, setup=volume_image),
    "autoRemove": verb(applies(command=["job"], autoRemove=True), gone, setup=programs),
    "put back": verb(applies(command=["nothing-here"]), put_back, setup=RUNNING),
    "pause": verb(applies(runState="Paused"), shown("PAUSED", phase="Paused", restartCount=0), setup=RUNNING),
    "resume": verb(applies(), shown(phase="Running", restartCount=0), setup=applies(runState="Paused")),
    "an exit missed": verb(
        applies(), shown(phase="Running", restartCount=1, exit_exitCode=137, exit_reason="Error"), setup=RUNNING, unseen=kill
    ),
    "a lost shim missed": verb(
        applies(), shown(phase="Running", restartCount=1, exit_reason="Unknown"), setup=RUNNING, unseen=kill_shim
    ),
    "half made": verb(applies(), shown(phase="Running"), setup=RUNNING, unseen=half_made),
    "restart": verb(
        notes("restartedAt", "2026-01-01T00:00:00.5Z"),
        shown(phase="Running", restartCount=0, exit_exitCode=0, exit_requested=True),
        setup=POLITE,
    ),
    "a stop that waits for ever": verb(
        applies(command=["polite"], terminationGracePeriodSeconds=-1, runState="Stopped"),
        ended(phase="Exited", exitCode=0, exit_requested=True),
        setup=POLITE,
    ),
    "delete while it stops": verb(
        then(applies(command=["deaf"], terminationGracePeriodSeconds=600, runState="Stopped"), force_delete), gone, setup=DEAF
    ),
    "delete a paused one": verb(delete, gone, setup=applies(runState="Paused")),
    "containerd restarts": verb(then(applies(), restart_containerd, pause=0.0), shown(phase="Running", restartCount=0)),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", VERBS)
def test_every_single_crash_converges(name: str, record_property: Callable[[str, object], None]) -> None:
    report = sweep(VERBS[name], modes=MODES)
    record_property("runs", report.runs)
    assert not report.failures, report
    assert report.runs > len(report.points)


TWICE = {
    "create": verb(applies(), shown(phase="Running", restartCount=0)),
    "replace": verb(applies(env=[{"name": "A", "value": "1"}]), shown(phase="Running", restartCount=0), setup=RUNNING),
    "remove": verb(delete, gone, setup=RUNNING),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TWICE)
def test_a_crash_during_the_recovery_from_a_crash(name: str, record_property: Callable[[str, object], None]) -> None:
    report = sweep(TWICE[name], modes=(Verdict.BEFORE, Verdict.AFTER), second=SECOND)
    record_property("runs", report.runs)
    assert not report.failures, report
