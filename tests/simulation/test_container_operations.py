"""What is asked of the agent beyond reconciling: plans, orphans; and waits that end by themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from setpoint.operations.orphans import OrphanActs
from setpoint.operations.planning import Planner
from setpoint.testing.clock import EPOCH
from setpoint.testing.crashing import World
from setpoint.testing.faults import Call, Fault, Verdict
from setpoint.testing.simulated_node import SimulatedNode, container, play
from state.errors import Conflict, NotFound
from state.objects import Key, Object

WEB = Key("Container", "default", "web")


async def plan(node: SimulatedNode, **spec: object) -> tuple[list[str], bool, str]:
    """What is to be done, whether it replaces, and what it waits for."""
    assert node.loop is not None
    (told,) = await Planner(node.ports(None), node.loop.view, node.clock).plan([container("web", **spec)])
    return [step["do"] for step in told.actions], told.replaces, told.waits


def footprint(node: SimulatedNode) -> tuple[object, ...]:
    return (
        node.store.revision,
        node.ledger.database.counters.commits,
        node.runtime.census(),
        node.files.writes,
        list(node.images.fetched),
        node.sandboxes.census(),
    )


async def annotate(node: SimulatedNode, name: str, value: str | None) -> None:
    patch: Object = {"metadata": {"annotations": {f"setpoint.dev/{name}": value}}}
    await node.store.patch(WEB, patch, manager="test")


def test_a_plan_changes_nothing_and_what_is_applied_needs_none() -> None:
    async def story(node: SimulatedNode) -> None:
        await asyncio.sleep(1)
        before = footprint(node)
        assert await plan(node) == (["Create", "Launch"], False, "")
        steps, _, waits = await plan(node, image="registry.example/none:1")
        assert steps == ["Create", "Launch"]
        assert "registry.example/none:1" in waits
        assert footprint(node) == before
        await node.apply("web")
        await asyncio.sleep(20)
        before = footprint(node)
        assert await plan(node) == ([], False, "")
        assert await plan(node, resources={"limits": {"memory": "64Mi"}}) == (["Update"], False, "")
        steps, replaces, _ = await plan(node, env=[{"name": "A", "value": "1"}])
        assert steps[:2] == ["Signal", "Reap"]
        assert steps[-3:] == ["Create", "Launch", "Remove"]
        assert replaces
        assert await plan(node, runState="Stopped") == (["Signal", "Reap"], False, "")
        assert await plan(node, runState="Paused") == (["Pause"], False, "")
        assert footprint(node) == before
        await node.apply("web", env=[{"name": "A", "value": "1"}])
        await asyncio.sleep(20)
        assert await plan(node, env=[{"name": "A", "value": "1"}]) == ([], False, "")

    play(story)


def test_a_plan_without_containerd_says_so() -> None:
    async def story(node: SimulatedNode) -> None:
        await asyncio.sleep(1)
        node.runtime.leave()
        await asyncio.sleep(5)
        steps, _, waits = await plan(node)
        assert steps == []
        assert "containerd does not answer" in waits

    play(story)


def test_an_orphan_is_named_exactly_or_not_at_all() -> None:
    async def story(node: SimulatedNode) -> None:
        for name in ("web", "web2"):
            await node.apply(name)
        await asyncio.sleep(5)
        for name in ("web", "web2"):
            key = WEB._replace(name=name)
            await node.store.patch(key, {"metadata": {"finalizers": []}}, manager="someone")
            with suppress(NotFound):
                await node.delete(name)
        await asyncio.sleep(60)
        assert node.loop is not None
        acts = OrphanActs(node.loop.sweep, node.store)
        first, second = [row.id for row in await acts.list()]
        with pytest.raises(Conflict, match="beginning of 2 orphans"):
            await acts.remove(first[:8])
        with pytest.raises(NotFound):
            await acts.remove(first[:3])
        assert {first, second} == set(node.runtime.tasks)
        await acts.remove(first)
        assert set(node.runtime.tasks) == {second}
        assert (await acts.adopt(second)).name == "web2"
        await asyncio.sleep(5)
        assert set(node.runtime.tasks) == {second}

    play(story)


def test_a_hold_ends_at_its_time() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        until = EPOCH + timedelta(seconds=node.clock.monotonic() + 7)
        await annotate(node, "hold", until.isoformat())
        await asyncio.sleep(1)
        await node.apply("web", runState="Stopped")
        await asyncio.sleep(5)
        assert node.runtime.tasks
        assert "Held" in {c["type"] for c in (await node.status("web"))["conditions"]}
        await asyncio.sleep(3)
        assert not node.runtime.tasks

    play(story)


def test_a_shorter_grace_period_counts_while_it_stops() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web", terminationGracePeriodSeconds=-1)
        await asyncio.sleep(5)
        await node.apply("web", terminationGracePeriodSeconds=-1, runState="Stopped")
        await asyncio.sleep(500)
        assert node.runtime.tasks, "it waits for ever"
        await annotate(node, "stop-options", '{"gracePeriodSeconds": 3}')
        await asyncio.sleep(1)
        assert not node.runtime.tasks

    play(story)


def test_files_of_a_deleted_secret_stay_and_it_is_told() -> None:
    async def story(node: SimulatedNode) -> None:
        from state.store import Apply, DeleteOptions

        key = Key("Secret", "default", "cert")
        obj: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "cert", "namespace": "default"},
            "data": {"k": "dg=="},
        }
        await node.store.apply([Apply(obj, "test", force=True)])
        await node.apply(
            "web",
            volumes=[{"name": "s", "secret": {"secretName": "cert"}}],
            volumeMounts=[{"name": "s", "mountPath": "/s"}],
        )
        await asyncio.sleep(20)
        uid = (await node.store.get(WEB)).uid
        pid = (await node.status("web"))["pid"]
        await node.store.delete(key, DeleteOptions())
        await asyncio.sleep(40)
        assert node.files.tree(uid, "volatile", "s") == {"k": (b"v", 0o644)}
        status = await node.status("web")
        assert status["pid"] == pid
        assert "Secret cert" in next(c["message"] for c in status["conditions"] if c["type"] == "ReferenceMissing")
        await node.store.apply([Apply({**obj, "data": {"k": "dw=="}}, "test", force=True)])
        await asyncio.sleep(5)
        assert node.files.tree(uid, "volatile", "s") == {"k": (b"w", 0o644)}
        assert "ReferenceMissing" not in {c["type"] for c in (await node.status("web"))["conditions"]}

    play(story)


def test_a_policy_that_would_have_run_it_again_runs_it() -> None:
    async def story(node: SimulatedNode) -> None:
        from setpoint.testing.fake_programs import Program

        node.runtime.programs["job"] = Program(runs_s=1.0, code=2)
        await node.apply("web", command=["job"], restartPolicy="Never")
        await asyncio.sleep(30)
        assert (await node.status("web"))["phase"] == "Exited"
        node.runtime.programs["job"] = Program(runs_s=float("inf"))
        await node.apply("web", command=["job"], restartPolicy="OnFailure")
        await asyncio.sleep(2)
        assert (await node.status("web"))["phase"] == "Running"

    play(story)


class Silent:
    """The store's watches tell nothing more, and the runtime's events neither: only looking helps."""

    def fault(self, call: Call) -> Fault:
        return Fault(Verdict.DROP) if call.kind == "event" else Fault()


def test_what_no_event_tells_the_resync_finds() -> None:
    async def story(node: SimulatedNode) -> None:
        await asyncio.sleep(2)
        await node.apply("web")
        await asyncio.sleep(35)
        (id,) = node.runtime.tasks
        node.runtime.kill_process(id)
        await asyncio.sleep(70)
        status = await node.status("web")
        assert (status["phase"], status["restartCount"], status["lastExit"]["exitCode"]) == ("Running", 1, 137)
        await node.delete("web")
        await asyncio.sleep(100)
        assert node.census() == {}

    play(story, world=World(Silent()))
