"""The container slice, whole, under virtual time: every verb of a container's life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from controllers.registry import Tuning
from setpoint.testing.fake_programs import Program
from setpoint.testing.fake_runtime import FakeRuntime
from setpoint.testing.simulated_node import SimulatedNode, play
from state.objects import Key


async def until(look: Callable[[], bool]) -> None:
    """Virtual time passes until it is so."""
    for _ in range(100_000):
        if look():
            return
        await asyncio.sleep(0.05)


def only(runtime: FakeRuntime) -> str:
    (id,) = runtime.tasks
    return id


def test_declared_it_runs_and_is_shown() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(1)
        status = await node.status("web")
        assert status["phase"] == "Running"
        assert status["pid"] == node.runtime.tasks[only(node.runtime)].pid
        assert status["observedGeneration"] == 1
        assert [c["type"] for c in status["conditions"]] == ["Ready", "NetworksReady"]

    play(story)


def test_at_rest_nothing_is_written_and_nothing_asked() -> None:
    async def story(node: SimulatedNode) -> None:
        for n in range(5):
            await node.apply(f"c{n}")
        await asyncio.sleep(10)
        before = node.store.revision, node.store.database.counters.commits, node.ledger.database.counters.commits
        await asyncio.sleep(3600)
        assert (node.store.revision, node.store.database.counters.commits, node.ledger.database.counters.commits) == before

    play(story)


@pytest.mark.parametrize("how", ["kill_process", "delete_task", "delete_record", "kill_shim"])
def test_killed_behind_our_back_it_comes_back_with_the_same_revision(how: str) -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        id = only(node.runtime)
        pid = node.runtime.tasks[id].pid
        if how == "delete_record":
            node.runtime.delete_task(id)
        getattr(node.runtime, how)(id)
        await asyncio.sleep(2)
        assert only(node.runtime) == id
        assert node.runtime.tasks[id].pid != pid
        status = await node.status("web")
        assert status["phase"] == "Running"
        assert status["restartCount"] == 1
        last = status["lastExit"]
        if how == "kill_process":
            assert (last["reason"], last["exitCode"], last["signal"]) == ("Error", 137, 9)
        else:
            assert last["reason"] == "Unknown"
            assert "exitCode" not in last

    play(story)


def test_the_back_off_doubles_and_starts_anew_after_a_long_run() -> None:
    async def story(node: SimulatedNode) -> None:
        node.runtime.programs["crash"] = Program(runs_s=0.0, code=1)
        await node.apply("web", command=["crash"], restart={"backoff": {"initial": "1s", "factor": 2, "max": "300s"}})
        starts = []
        for _ in range(6000):
            await asyncio.sleep(0.1)
            launches = (await node.status("web")).get("restartCount", 0)
            if launches > len(starts):
                starts.append(round(node.clock.monotonic()))
        gaps = [b - a for a, b in pairwise(starts)]
        assert gaps[:7] == [1, 2, 4, 8, 16, 32, 64]

    play(story)


def test_a_crash_budget_ends_in_quarantine_until_retry() -> None:
    async def story(node: SimulatedNode) -> None:
        node.runtime.programs["crash"] = Program(runs_s=0.0, code=3)
        await node.apply("web", command=["crash"], restart={"crashBudget": {"crashes": 3, "within": "60s"}})
        await asyncio.sleep(30)
        status = await node.status("web")
        assert status["phase"] == "Exited"
        assert {c["type"]: c["status"] for c in status["conditions"]}["Quarantined"] == "True"
        assert not node.runtime.tasks
        node.runtime.programs["crash"] = Program(runs_s=float("inf"))
        patch = {"metadata": {"annotations": {"setpoint.dev/retriedAt": "2026-01-01T00:00:00Z"}}}
        await node.store.patch(Key("Container", "default", "web"), patch, manager="setpoint-retry")
        await asyncio.sleep(1)
        assert (await node.status("web"))["phase"] == "Running"

    play(story)


def test_stop_is_graceful_then_forced_and_stays() -> None:
    async def story(node: SimulatedNode) -> None:
        node.runtime.programs["deaf"] = Program(runs_s=float("inf"), handlers={15: -1})
        await node.apply("web", command=["deaf"], terminationGracePeriodSeconds=5)
        await asyncio.sleep(1)
        asked = node.clock.monotonic()
        await node.apply("web", command=["deaf"], terminationGracePeriodSeconds=5, runState="Stopped")
        await until(lambda: not node.runtime.tasks)
        assert 4.9 <= node.clock.monotonic() - asked <= 5.5
        await asyncio.sleep(1000)
        status = await node.status("web")
        assert (status["phase"], status["exitCode"]) == ("Exited", 137)
        assert status["lastExit"]["requested"]
        await node.apply("web", command=["deaf"], terminationGracePeriodSeconds=5)
        await asyncio.sleep(1)
        assert (await node.status("web"))["phase"] == "Running"
        assert (await node.status("web"))["restartCount"] == 0

    play(story)


def test_pause_and_resume_whoever_did_otherwise() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web", runState="Paused")
        await asyncio.sleep(1)
        assert (await node.status("web"))["phase"] == "Paused"
        await node.runtime.resume(only(node.runtime))
        await asyncio.sleep(1)
        assert node.runtime.tasks[only(node.runtime)].state == "PAUSED"
        await node.apply("web", runState="Running")
        await asyncio.sleep(1)
        await node.runtime.pause(only(node.runtime))
        await asyncio.sleep(1)
        assert (await node.status("web"))["phase"] == "Running"
        await node.apply("web", runState="Paused")
        await asyncio.sleep(1)
        await node.apply("web", runState="Stopped")
        await asyncio.sleep(3)
        assert (await node.status("web"))["phase"] == "Exited"

    play(story)


def test_policies_decide_who_runs_again() -> None:
    async def story(node: SimulatedNode) -> None:
        for name, policy, code in (("a", "Never", 0), ("b", "Never", 7), ("c", "OnFailure", 0), ("d", "OnFailure", 7)):
            node.runtime.programs[f"p{name}"] = Program(runs_s=1.0, code=code)
            await node.apply(name, command=[f"p{name}"], restartPolicy=policy)
        await asyncio.sleep(60)
        seen = {name: await node.status(name) for name in "abcd"}
        assert {n: s["phase"] for n, s in seen.items()} == {"a": "Exited", "b": "Exited", "c": "Exited", "d": "Restarting"}
        assert [seen[n]["exitCode"] for n in "abc"] == [0, 7, 0]
        assert seen["d"]["restartCount"] > 3
        assert {c["reason"] for c in seen["a"]["conditions"] if c["type"] == "Ready"} == {"Completed"}

    play(story)


def test_every_end_leaves_an_event() -> None:
    async def story(node: SimulatedNode) -> None:
        node.runtime.programs["three"] = Program(runs_s=1.0, code=3)
        await node.apply("fails", command=["three"], restartPolicy="Never")
        await node.apply("stops")
        await asyncio.sleep(5)
        await node.apply("stops", runState="Stopped")
        await asyncio.sleep(5)
        told = {(name, reason, message) for name, reason, message in node.recorder.told}
        assert ("fails", "Exited", "exit code 3") in told
        assert ("stops", "Stopped", "exit code 137 (signal 9)") in told

    play(story)


def test_auto_remove_shows_the_exit_then_goes() -> None:
    async def story(node: SimulatedNode) -> None:
        node.runtime.programs["job"] = Program(runs_s=2.0, code=4)
        seen = []

        async def watch() -> None:
            from state.store import Selection

            async for event in node.store.watch(Selection("Container")):
                if event.stored is not None:
                    seen.append((event.type, (event.stored.object.get("status") or {}).get("exitCode")))

        watching = asyncio.get_running_loop().create_task(watch())
        await node.apply("job", command=["job"], autoRemove=True)
        await asyncio.sleep(20)
        watching.cancel()
        assert ("DELETED", 4) in seen
        assert node.census() == {}

    play(story)


def test_what_is_missing_is_named_and_its_arrival_acted_upon_within_two_seconds() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply(
            "web",
            volumes=[{"name": "data", "hostPath": {"path": "/srv/data"}}],
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
        )
        await asyncio.sleep(100)
        status = await node.status("web")
        waits = [c for c in status["conditions"] if c["type"] == "Waiting"]
        assert (waits[0]["reason"], status["phase"], status["restartCount"]) == ("HostPathNotFound", "Pending", 0)
        assert "/srv/data" in waits[0]["message"]
        commits = node.ledger.database.counters.commits
        node.files.host["/srv/data"] = "Directory"
        await asyncio.sleep(2)
        assert (await node.status("web"))["phase"] == "Running"
        assert commits == 0, "waiting writes nothing"

    play(story)


def test_replacement_keeps_the_old_one_until_the_new_one_is_ready() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(1)
        first = only(node.runtime)
        await node.apply("web", env=[{"name": "A", "value": "1"}])
        await asyncio.sleep(3)
        second = only(node.runtime)
        assert second == first.rpartition("-")[0] + "-2"
        assert set(node.runtime.records) == {second}
        assert (await node.status("web"))["revision"] == 2

    play(story)


def test_a_replacement_that_cannot_run_is_put_back_and_not_tried_again() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        first = only(node.runtime)
        await node.apply("web", command=["nothing-here"])
        await asyncio.sleep(4)
        assert only(node.runtime) == first
        status = await node.status("web")
        failed = [c for c in status["conditions"] if c["type"] == "ReplacementFailed"]
        assert len(failed) == 1
        assert "nothing-here" in failed[0]["message"]
        assert (status["phase"], status["revision"], status["observedGeneration"]) == ("Running", 1, 2)
        pid = node.runtime.tasks[first].pid
        await asyncio.sleep(2000)
        assert node.runtime.tasks[first].pid == pid
        assert set(node.runtime.records) == {first}
        await node.apply("web", command=["sleep", "2000000"])
        await asyncio.sleep(4)
        status = await node.status("web")
        assert (status["revision"], status["phase"]) == (3, "Running")
        assert "ReplacementFailed" not in {c["type"] for c in status["conditions"]}

    play(story)


def test_what_was_shown_ready_is_put_back_though_the_new_declaration_asks_for_longer() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(1)
        first = only(node.runtime)
        await node.apply("web", command=["nothing-here"], updateStrategy={"minReadySeconds": 30})
        await asyncio.sleep(4)
        assert only(node.runtime) == first
        assert (await node.status("web"))["phase"] == "Running"

    play(story)


def test_an_image_that_is_missing_never_stops_the_old_one() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        pid = node.runtime.tasks[only(node.runtime)].pid
        await node.apply("web", image="registry.example/none:1")
        await asyncio.sleep(300)
        assert node.runtime.tasks[only(node.runtime)].pid == pid
        status = await node.status("web")
        assert {c["reason"] for c in status["conditions"] if c["type"] == "Waiting"} == {"ImageNotFound"}

    play(story)


def test_the_old_one_is_kept_running_while_the_new_one_waits_for_its_image() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        first = only(node.runtime)
        await node.apply("web", image="registry.example/none:1")
        await asyncio.sleep(5)
        node.runtime.kill_process(first)
        await asyncio.sleep(2)
        assert only(node.runtime) == first
        status = await node.status("web")
        assert (status["phase"], status["revision"], status["restartCount"]) == ("Running", 1, 1)
        assert {c["reason"] for c in status["conditions"] if c["type"] == "Waiting"} == {"ImageNotFound"}
        info = node.images.add("registry.example/none:1")
        node.runtime.images[info.chain_id] = "registry.example/none:1"
        await asyncio.sleep(4)
        status = await node.status("web")
        assert (status["phase"], status["revision"]) == ("Running", 2)

    play(story)


def test_limits_change_live() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web", resources={"limits": {"memory": "64Mi"}})
        await asyncio.sleep(20)
        id = only(node.runtime)
        pid = node.runtime.tasks[id].pid
        await node.apply("web", resources={"limits": {"memory": "128Mi"}})
        await asyncio.sleep(1)
        assert node.runtime.tasks[id].pid == pid
        assert node.runtime.tasks[id].resources["memory"]["limit"] == 128 << 20
        await node.apply("web", resources={"limits": {"memory": "0.125Gi"}})
        commits = node.ledger.database.counters.commits
        await asyncio.sleep(1)
        assert node.ledger.database.counters.commits == commits
        node.runtime.kill_process(id)
        await asyncio.sleep(2)
        assert node.runtime.tasks[id].resources["memory"]["limit"] == 128 << 20, "a restart keeps the live limit"

    play(story)


def test_a_held_one_is_looked_at_and_not_touched() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        patch = {"metadata": {"annotations": {"setpoint.dev/hold": "true"}}}
        await node.store.patch(Key("Container", "default", "web"), patch, manager="setpoint-hold")
        await asyncio.sleep(1)
        node.runtime.kill_process(only(node.runtime))
        await asyncio.sleep(100)
        assert {t.state for t in node.runtime.tasks.values()} == {"STOPPED"}
        await node.store.patch(
            Key("Container", "default", "web"),
            {"metadata": {"annotations": {"setpoint.dev/hold": None}}},
            manager="setpoint-hold",
        )
        await asyncio.sleep(1)
        assert (await node.status("web"))["phase"] == "Running"

    play(story)


def test_containerd_away_is_unknown_and_nothing_is_concluded() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        pid = node.runtime.tasks[only(node.runtime)].pid
        node.runtime.leave()
        await asyncio.sleep(10)
        assert (await node.status("web"))["phase"] == "Unknown"
        await asyncio.sleep(600)
        node.runtime.come_back()
        await asyncio.sleep(5)
        assert (await node.status("web"))["phase"] == "Running"
        assert node.runtime.tasks[only(node.runtime)].pid == pid

    play(story)


def test_a_frozen_containerd_is_unknown_too_and_back_at_once() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web")
        await asyncio.sleep(20)
        pid = node.runtime.tasks[only(node.runtime)].pid
        node.runtime.freeze()
        await asyncio.sleep(35)
        assert (await node.status("web"))["phase"] == "Unknown"
        await asyncio.sleep(600)
        node.runtime.come_back()
        await asyncio.sleep(5)
        assert (await node.status("web"))["phase"] == "Running"
        assert node.runtime.tasks[only(node.runtime)].pid == pid

    play(story)


def test_foreign_ones_are_left_alone_and_orphans_are_listed_and_kept() -> None:
    async def story(node: SimulatedNode) -> None:
        node.runtime.add_foreign("nginx")
        await node.apply("web")
        await asyncio.sleep(5)
        key = Key("Container", "default", "web")
        await node.store.patch(key, {"metadata": {"finalizers": []}}, manager="someone")
        await node.delete("web")
        await asyncio.sleep(120)
        assert len(node.runtime.tasks) == 2 or len(node.runtime.tasks) == 1
        assert node.loop is not None
        assert [o.name for o in await node.loop.sweep.orphans()] == ["web"]
        assert "nginx" in node.runtime.records

    play(story)


def test_restart_is_not_a_crash() -> None:
    async def story(node: SimulatedNode) -> None:
        await node.apply("web", restart={"crashBudget": {"crashes": 1, "within": "60s"}})
        await asyncio.sleep(20)
        pid = node.runtime.tasks[only(node.runtime)].pid
        patch = {"metadata": {"annotations": {"setpoint.dev/restartedAt": "2026-01-01T00:00:00.5Z"}}}
        await node.store.patch(Key("Container", "default", "web"), patch, manager="setpoint-restart")
        await asyncio.sleep(3)
        assert node.runtime.tasks[only(node.runtime)].pid != pid
        status = await node.status("web")
        assert (status["phase"], status["restartCount"]) == ("Running", 0)

    play(story)


def test_at_most_three_commits_for_a_start() -> None:
    async def story(node: SimulatedNode) -> None:
        await asyncio.sleep(5)
        before = node.store.database.counters.commits + node.ledger.database.counters.commits
        await node.apply("web")
        await asyncio.sleep(5)
        assert node.store.database.counters.commits + node.ledger.database.counters.commits - before <= 3

    play(story, Tuning(resync=timedelta(seconds=30)))
