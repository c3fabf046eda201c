"""What Runtime and RuntimeSource promise, as tests: the fake and every real containerd run the same class, in equal numbers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from controllers.container.ports import StartFailed
from setpoint.testing.runtime_outside import OutsideContract
from setpoint.testing.runtime_records import OwnershipContract, RecordsContract
from setpoint.testing.runtime_rig import (
    HUNGRY,
    NULL,
    OBEDIENT,
    RuntimeRig,
    dead,
    listening,
    new,
    run,
    see,
    stopped,
    until,
)
from state.errors import AlreadyExists, Conflict, NotFound, StateError

SIGTERM, SIGKILL, SIGUSR1 = 15, 9, 10


class LaunchContract:
    """From a record to a process."""

    async def test_launch_tells_the_pid(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        seen = await see(rig, id)
        assert (seen.task, seen.pid, seen.exit) == ("RUNNING", pid, None)
        assert rig.alive(pid)

    async def test_launch_without_a_record(self, rig: RuntimeRig) -> None:
        with pytest.raises(NotFound):
            await rig.runtime.launch(new(rig).id, NULL)

    async def test_a_second_launch_is_refused(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        with pytest.raises(AlreadyExists):
            await rig.runtime.launch(id, NULL)
        assert (await see(rig, id)).pid == pid

    async def test_an_ended_task_must_be_reaped_first(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "exit 3"])
        await stopped(rig, id)
        with pytest.raises(AlreadyExists):
            await rig.runtime.launch(id, NULL)
        seen = await see(rig, id)
        assert seen.exit is not None
        assert seen.exit.code == 3

    async def test_launch_after_reap_is_a_new_process(self, rig: RuntimeRig) -> None:
        id, first = await run(rig)
        await rig.runtime.reap(id, force=True)
        second = await rig.runtime.launch(id, NULL)
        assert second != first
        assert (await see(rig, id)).pid == second

    async def test_a_lost_snapshot_is_made_again(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.hands.drop_snapshot(made.id)
        assert rig.alive(await rig.runtime.launch(made.id, NULL))
        assert (await rig.census()).snapshots == (made.id,)

    async def test_side_by_side(self, rig: RuntimeRig) -> None:
        made = [new(rig) for _ in range(6)]
        await asyncio.gather(*(rig.runtime.create(each) for each in made))
        pids = await asyncio.gather(*(rig.runtime.launch(each.id, NULL) for each in made))
        assert len(set(pids)) == 6
        assert {row.task for row in await rig.runtime.list()} == {"RUNNING"}

    @pytest.mark.parametrize(
        ("args", "code"),
        [
            pytest.param(["nope"], 127, id="not-on-path"),
            pytest.param(["/nope/x"], 127, id="no-such-path"),
            pytest.param(["/etc/passwd"], 126, id="not-executable"),
            pytest.param(["/etc"], 126, id="a-folder"),
            pytest.param([], 128, id="no-command"),
        ],
    )
    async def test_what_cannot_be_executed(self, rig: RuntimeRig, args: list[str], code: int) -> None:
        made = new(rig, args)
        await rig.runtime.create(made)
        with pytest.raises(StartFailed) as caught:
            await rig.runtime.launch(made.id, NULL)
        assert (caught.value.code, caught.value.missing) == (code, "")
        seen = await see(rig, made.id)
        assert (seen.task, seen.exit) == (None, None)
        assert (await rig.census()).tasks == ()

    async def test_a_missing_bind_source_is_named(self, rig: RuntimeRig) -> None:
        path = rig.absent_path()
        made = new(rig, bind=path)
        await rig.runtime.create(made)
        with pytest.raises(StartFailed, match=path) as caught:
            await rig.runtime.launch(made.id, NULL)
        assert (caught.value.code, caught.value.missing) == (128, path)
        assert (await see(rig, made.id)).task is None

    async def test_it_starts_once_the_source_is_there(self, rig: RuntimeRig) -> None:
        path = rig.absent_path()
        made = new(rig, bind=path)
        await rig.runtime.create(made)
        with pytest.raises(StartFailed):
            await rig.runtime.launch(made.id, NULL)
        rig.appear(path)
        assert rig.alive(await rig.runtime.launch(made.id, NULL))

    async def test_a_failed_start_can_be_removed(self, rig: RuntimeRig) -> None:
        made = new(rig, ["nope"])
        await rig.runtime.create(made)
        with pytest.raises(StartFailed):
            await rig.runtime.launch(made.id, NULL)
        assert await rig.runtime.reap(made.id) is None
        await rig.runtime.remove(made.id)
        assert (await rig.census()).records == ()


class ExitContract:
    """How processes end, and what is told of it."""

    @pytest.mark.parametrize("code", [0, 1, 7, 255])
    async def test_the_code_is_told(self, rig: RuntimeRig, code: int) -> None:
        id, _ = await run(rig, ["sh", "-c", f"exit {code}"])
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert (seen.exit.code, seen.exit.true, seen.exit.oom) == (code, True, False)
        assert seen.pid == 0

    async def test_the_time_is_told(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["true"])
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert seen.exit.at.endswith("Z")
        assert len(seen.exit.at.partition(".")[2]) == 10
        assert datetime.fromisoformat(seen.exit.at[:26]).replace(tzinfo=UTC).year >= 2026

    async def test_an_exit_stays_until_it_is_reaped(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "exit 9"])
        first = await stopped(rig, id)
        await rig.sleep(0.2)
        assert await see(rig, id) == first
        listed = next(row for row in await rig.runtime.list() if row.id == id)
        assert listed == replace(first, declaration=None)

    async def test_kill(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.signal(id, SIGKILL)
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert (seen.exit.code, seen.exit.true) == (137, True)
        await dead(rig, pid)

    async def test_a_handler_decides(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, OBEDIENT)

        async def obeyed() -> bool:
            with contextlib.suppress(NotFound):
                await rig.runtime.signal(id, SIGTERM)  # once more: it may not have had its handler yet
            return (await see(rig, id)).task == "STOPPED"

        await until(rig, obeyed)
        seen = await see(rig, id)
        assert seen.exit is not None
        assert seen.exit.code == 5

    async def test_the_first_process_ignores_what_it_has_no_handler_for(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.signal(id, SIGTERM)
        await rig.runtime.signal(id, SIGUSR1)
        await rig.sleep(0.3)
        assert (await see(rig, id)).task == "RUNNING"
        assert rig.alive(pid)

    async def test_in_the_hosts_pid_namespace_it_does_not(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, host_pid=True)
        await rig.runtime.signal(id, SIGTERM)
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert (seen.exit.code, seen.exit.true) == (143, True)

    async def test_a_signal_to_everyone(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.signal(id, SIGKILL, everyone=True)
        await stopped(rig, id)
        await dead(rig, pid)

    async def test_a_signal_after_the_end(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["true"])
        await stopped(rig, id)
        with pytest.raises(NotFound):
            await rig.runtime.signal(id, SIGTERM)

    async def test_a_signal_without_a_task(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        with pytest.raises(NotFound):
            await rig.runtime.signal(made.id, SIGTERM)

    async def test_a_signal_to_nothing(self, rig: RuntimeRig) -> None:
        with pytest.raises(NotFound):
            await rig.runtime.signal(new(rig).id, SIGTERM)

    async def test_killed_for_memory(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            id, _ = await run(rig, HUNGRY, memory_bytes=16 << 20)
            await rig.hands.starve(id)
            seen = await stopped(rig, id)
            assert seen.exit is not None
            assert (seen.exit.code, seen.exit.oom, seen.exit.true) == (137, True, True)
            await listener.heard(rig, id, "/tasks/oom")
            assert await rig.runtime.reap(id) == seen.exit

    async def test_memory_is_forgotten_with_the_next_start(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, HUNGRY, memory_bytes=16 << 20)
        await rig.hands.starve(id)
        await stopped(rig, id)
        await rig.runtime.reap(id)
        await rig.runtime.launch(id, NULL)
        await rig.hands.kill_process(id)
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert seen.exit.code == 137


class ReapContract:
    """Deleting tasks."""

    async def test_reap_hands_the_exit_over(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "exit 4"])
        told = (await stopped(rig, id)).exit
        assert await rig.runtime.reap(id) == told
        seen = await see(rig, id)
        assert (seen.task, seen.exit) == (None, None)

    async def test_reap_leaves_record_and_snapshot(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["true"])
        await stopped(rig, id)
        await rig.runtime.reap(id)
        census = await rig.census()
        assert census.records == census.snapshots == (id,)
        assert (census.tasks, census.processes) == ((), ())

    async def test_reap_again_is_fine(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["true"])
        await stopped(rig, id)
        await rig.runtime.reap(id)
        assert await rig.runtime.reap(id) is None

    @pytest.mark.parametrize("force", [False, True])
    async def test_reap_nothing(self, rig: RuntimeRig, force: bool) -> None:
        made = new(rig)
        assert await rig.runtime.reap(made.id, force=force) is None
        await rig.runtime.create(made)
        assert await rig.runtime.reap(made.id, force=force) is None

    async def test_a_running_task_is_not_reaped(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        with pytest.raises(Conflict):
            await rig.runtime.reap(id)
        assert (await see(rig, id)).pid == pid

    async def test_force_kills_first(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        exit = await rig.runtime.reap(id, force=True)
        assert exit is not None
        assert (exit.code, exit.true) == (137, True)
        await dead(rig, pid)
        assert (await rig.census()).tasks == ()

    async def test_force_ends_a_paused_one(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.pause(id)
        assert await rig.runtime.reap(id, force=True) is not None
        await dead(rig, pid)
        assert (await see(rig, id)).task is None

    async def test_force_ends_children_in_the_hosts_pid_namespace(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "sleep 1000 & sleep 1000"], host_pid=True)
        await rig.sleep(0.2)
        await rig.runtime.reap(id, force=True)
        assert (await rig.census()).processes == ()


class PauseContract:
    """Freezing, and changing what runs."""

    async def test_pause_and_resume(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.pause(id)
        paused = await see(rig, id)
        assert (paused.task, paused.pid) == ("PAUSED", pid)
        await rig.runtime.resume(id)
        running = await see(rig, id)
        assert (running.task, running.pid) == ("RUNNING", pid)

    async def test_twice_is_fine(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig)
        await rig.runtime.resume(id)
        await rig.runtime.pause(id)
        await rig.runtime.pause(id)
        assert (await see(rig, id)).task == "PAUSED"
        await rig.runtime.resume(id)
        await rig.runtime.resume(id)
        assert (await see(rig, id)).task == "RUNNING"

    async def test_a_paused_process_does_not_end(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "sleep 1; exit 6"])
        await rig.runtime.pause(id)
        await rig.sleep(1.5)
        assert (await see(rig, id)).task == "PAUSED"
        await rig.runtime.resume(id)
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert seen.exit.code == 6

    async def test_killed_while_paused(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.pause(id)
        await rig.runtime.signal(id, SIGKILL)
        with contextlib.suppress(Conflict, NotFound):  # with cgroup v1 it may die only when it thaws
            await rig.runtime.resume(id)
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert seen.exit.code == 137
        await dead(rig, pid)

    @pytest.mark.parametrize("method", ["pause", "resume"])
    async def test_nothing_to_freeze(self, rig: RuntimeRig, method: str) -> None:
        made = new(rig)
        with pytest.raises(NotFound):
            await getattr(rig.runtime, method)(made.id)
        await rig.runtime.create(made)
        with pytest.raises(NotFound):
            await getattr(rig.runtime, method)(made.id)

    @pytest.mark.parametrize("method", ["pause", "resume"])
    async def test_what_has_ended_is_not_frozen(self, rig: RuntimeRig, method: str) -> None:
        id, _ = await run(rig, ["true"])
        await stopped(rig, id)
        with pytest.raises(Conflict):
            await getattr(rig.runtime, method)(id)
        assert (await see(rig, id)).task == "STOPPED"

    async def test_limits_change_live(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.update(id, {"memory": {"limit": 64 << 20}, "pids": {"limit": 100}})
        seen = await see(rig, id)
        assert (seen.task, seen.pid) == ("RUNNING", pid)

    async def test_limits_of_nothing(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        with pytest.raises(NotFound):
            await rig.runtime.update(made.id, {"pids": {"limit": 100}})

    async def test_limits_of_what_has_ended(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["true"])
        await stopped(rig, id)
        with pytest.raises(StateError):
            await rig.runtime.update(id, {"pids": {"limit": 100}})


class RuntimeContract(
    RecordsContract, LaunchContract, ExitContract, ReapContract, PauseContract, OwnershipContract, OutsideContract
):
    """All of it. Fixture: ``rig``."""
