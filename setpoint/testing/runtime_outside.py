"""The part of the runtime contract that is about what others do: operators, the kernel, dying shims and a dying containerd."""

from __future__ import annotations

import pytest

from setpoint.testing.runtime_rig import (
    NULL,
    RuntimeRig,
    dead,
    listening,
    new,
    run,
    see,
    stopped,
    until,
    without_task,
)
from state.errors import NotFound, Unavailable


class ShimContract:
    """An exit is true only if a live shim told it. Fixture: ``rig``."""

    async def test_killed_from_outside_is_a_true_exit(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig)
        await rig.hands.kill_process(id)
        seen = await stopped(rig, id)
        assert seen.exit is not None
        assert (seen.exit.code, seen.exit.true) == (137, True)

    async def test_a_lost_shim_takes_the_task_along(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            id, _ = await run(rig)
            await rig.hands.kill_shim(id)
            seen = await without_task(rig, id)
            event = await listener.heard(rig, id, "/tasks/exit")
            assert event.exit is not None
            assert not event.exit.true
            seen = await see(rig, id)
            assert seen.exit is not None
            assert (seen.exit.code, seen.exit.true) == (137, False)
            listed = next(row for row in await rig.runtime.list() if row.id == id)
            assert listed.exit == seen.exit

    async def test_nothing_lives_on_without_its_shim(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.hands.kill_shim(id)
        await without_task(rig, id)
        await rig.runtime.reap(id, force=True)
        await dead(rig, pid)
        assert (await rig.census()).processes == ()

    async def test_it_starts_again_without_a_reap(self, rig: RuntimeRig) -> None:
        id, first = await run(rig)
        await rig.hands.kill_shim(id)
        await without_task(rig, id)

        async def launched() -> int | None:
            return await rig.runtime.launch(id, NULL)

        second = await until(rig, launched)
        await dead(rig, first)
        seen = await see(rig, id)
        assert (seen.task, seen.pid, seen.exit) == ("RUNNING", second, None)

    async def test_what_was_told_before_the_shim_died_stays_true(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            id, _ = await run(rig, ["sh", "-c", "exit 7"])
            await stopped(rig, id)
            await listener.heard(rig, id, "/tasks/exit")
            await rig.hands.kill_shim(id)
            await without_task(rig, id)
            await listener.heard(rig, id, "/tasks/delete")
            seen = await see(rig, id)
            assert seen.exit is not None
            assert (seen.exit.code, seen.exit.true) == (7, True)

    async def test_the_number_is_forgotten_with_the_next_start(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            id, _ = await run(rig)
            await rig.hands.kill_shim(id)
            await listener.heard(rig, id, "/tasks/delete")
            await without_task(rig, id)
            await rig.runtime.launch(id, NULL)
            await rig.runtime.reap(id, force=True)
            assert (await see(rig, id)).exit is None

    async def test_a_silent_shim_is_not_a_missing_task(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig)
        await rig.hands.hang_shim(id, hung=True)
        assert (await see(rig, id)).task == "UNKNOWN"
        assert [row.task for row in await rig.runtime.list()] == ["UNKNOWN"]
        await rig.hands.hang_shim(id, hung=False)
        assert (await see(rig, id)).task == "RUNNING"

    async def test_force_ends_one_with_a_silent_shim(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.hands.hang_shim(id, hung=True)
        await rig.runtime.reap(id, force=True)
        await without_task(rig, id)
        await dead(rig, pid)

    async def test_the_others_are_seen_beside_a_silent_one(self, rig: RuntimeRig) -> None:
        silent, _ = await run(rig)
        other, pid = await run(rig)
        await rig.hands.hang_shim(silent, hung=True)
        rows = {row.id: row for row in await rig.runtime.list()}
        await rig.hands.hang_shim(silent, hung=False)
        assert (rows[other].task, rows[other].pid) == ("RUNNING", pid)


class MeddlingContract:
    """Somebody else uses the same containerd."""

    async def test_task_deleted_by_somebody(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.hands.delete_task(id)
        seen = await without_task(rig, id)
        assert seen.exit is None or not seen.exit.true
        await dead(rig, pid)
        await rig.runtime.launch(id, NULL)

    async def test_a_task_deleted_by_somebody_is_always_told(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            for _ in range(8):
                id, _ = await run(rig)
                await listener.heard(rig, id, "/tasks/start")
                before = len(listener.topics(id))
                await rig.hands.delete_task(id)

                async def told(id: str = id, before: int = before) -> bool:
                    return len(listener.topics(id)) > before

                await until(rig, told, within_s=2.0)

    async def test_a_task_that_was_there_before_is_followed_too(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig)
        async with listening(rig) as listener:
            await rig.hands.delete_task(id)

            async def told() -> bool:
                return bool(listener.topics(id))

            await until(rig, told, within_s=2.0)

    async def test_record_deleted_by_somebody(self, rig: RuntimeRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        await rig.hands.delete_record(made.id)
        assert await rig.runtime.look(made.id) is None
        assert list(await rig.runtime.list()) == []
        with pytest.raises(NotFound):
            await rig.runtime.launch(made.id, NULL)
        await rig.runtime.create(made)
        await rig.runtime.launch(made.id, NULL)

    async def test_paused_by_somebody(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig)
        await rig.other("engine-2").pause(id)
        assert (await see(rig, id)).task == "PAUSED"


class AwayContract:
    """containerd dies and comes back."""

    async def test_every_call_is_refused(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig)
        await rig.leave()
        refused = [
            rig.runtime.create(new(rig)),
            rig.runtime.launch(id, NULL),
            rig.runtime.signal(id, 15),
            rig.runtime.pause(id),
            rig.runtime.resume(id),
            rig.runtime.update(id, {}),
            rig.runtime.reap(id),
            rig.runtime.remove(id),
            rig.runtime.look(id),
            rig.runtime.list(),
        ]
        for call in refused:
            with pytest.raises(Unavailable):
                await call
        await rig.come_back()
        assert (await see(rig, id)).task == "RUNNING"

    async def test_processes_go_on(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.leave()
        assert rig.alive(pid)
        await rig.come_back()
        seen = await see(rig, id)
        assert (seen.task, seen.pid, seen.exit) == ("RUNNING", pid, None)

    async def test_paused_stays_paused(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig)
        await rig.runtime.pause(id)
        await rig.leave()
        await rig.come_back()
        seen = await see(rig, id)
        assert (seen.task, seen.pid) == ("PAUSED", pid)
        await rig.runtime.resume(id)
        assert (await see(rig, id)).task == "RUNNING"

    async def test_ended_before(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "exit 7"])
        told = (await stopped(rig, id)).exit
        await rig.leave()
        await rig.come_back()
        seen = await see(rig, id)
        assert (seen.task, seen.exit) == (("STOPPED", told) if rig.keeps_exits else (None, None))

    async def test_ended_meanwhile(self, rig: RuntimeRig) -> None:
        id, pid = await run(rig, ["sh", "-c", "sleep 0.5; exit 7"])
        await rig.leave()
        await rig.sleep(0.8)
        await dead(rig, pid)
        await rig.come_back()
        seen = await see(rig, id)
        if rig.keeps_exits:
            assert seen.exit is not None
            assert (seen.task, seen.exit.code, seen.exit.true) == ("STOPPED", 7, True)
        else:
            assert seen.task is None
            assert seen.exit is None or not seen.exit.true

    async def test_started_again_afterwards(self, rig: RuntimeRig) -> None:
        id, _ = await run(rig, ["sh", "-c", "sleep 0.3"])
        await rig.leave()
        await rig.sleep(0.6)
        await rig.come_back()
        await rig.runtime.reap(id)
        pid = await rig.runtime.launch(id, NULL)
        assert rig.alive(pid)


class EventsContract:
    """The stream wakes; the list tells."""

    async def test_the_first_event_is_empty(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            assert listener.events[0].id == ""
            assert listener.events[0].exit is None

    async def test_a_life_is_told(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            made = new(rig, ["sh", "-c", "exit 3"])
            await rig.runtime.create(made)
            await rig.runtime.launch(made.id, NULL)
            exited = await listener.heard(rig, made.id, "/tasks/exit")
            await stopped(rig, made.id)
            await rig.runtime.reap(made.id)
            await rig.runtime.remove(made.id)
            assert exited.exit is not None
            assert exited.exit.code == 3
            # Not in order: containerd and the shim both publish, and do not wait for each other. Nor is a delete always told.
            topics = {f"/tasks/{what}" for what in ("create", "start", "exit")} | {"/containers/create", "/containers/delete"}
            for topic in topics:
                await listener.heard(rig, made.id, topic)
            assert set(listener.topics(made.id)) - {"/tasks/delete"} == topics

    async def test_an_event_alone_is_no_true_exit(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            id, _ = await run(rig, ["true"])
            event = await listener.heard(rig, id, "/tasks/exit")
            assert event.exit is not None
            assert not event.exit.true

    async def test_freezing_is_told(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            id, _ = await run(rig)
            await rig.runtime.pause(id)
            await listener.heard(rig, id, "/tasks/paused")
            await rig.runtime.resume(id)
            await listener.heard(rig, id, "/tasks/resumed")

    async def test_a_reap_tells_no_exit_again(self, rig: RuntimeRig) -> None:
        async with listening(rig):
            id, _ = await run(rig)
            await rig.runtime.reap(id, force=True)
            await rig.sleep(0.1)  # for late events of what is known already
            assert (await see(rig, id)).exit is None

    async def test_two_listeners_hear_the_same(self, rig: RuntimeRig) -> None:
        async with listening(rig) as one, listening(rig) as two:
            id, _ = await run(rig)
            await one.heard(rig, id, "/tasks/start")
            await two.heard(rig, id, "/tasks/start")
            assert one.topics("") == two.topics("")

    async def test_it_breaks_when_containerd_leaves(self, rig: RuntimeRig) -> None:
        async with listening(rig) as listener:
            await rig.leave()

            async def broken() -> bool:
                return listener.broken is not None

            await until(rig, broken)
        await rig.come_back()

    async def test_nobody_can_subscribe_meanwhile(self, rig: RuntimeRig) -> None:
        await rig.leave()
        with pytest.raises(Unavailable):
            await anext(aiter(rig.runtime.events()))
        await rig.come_back()

    async def test_it_can_be_taken_up_again(self, rig: RuntimeRig) -> None:
        await rig.leave()
        await rig.come_back()
        async with listening(rig) as listener:
            id, _ = await run(rig)
            await listener.heard(rig, id, "/tasks/start")


class OutsideContract(ShimContract, MeddlingContract, AwayContract, EventsContract):
    """All of it."""
