"""The node-wide view: events lost, doubled and out of order, breaks, our own acts, and answers that come too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from controllers.container.ports import Exit, Instance, RuntimeEvent
from controllers.container.view import RuntimeView
from setpoint.testing.clock import ManualClock
from setpoint.testing.scripted import RememberingLog
from state.errors import InDoubt, Unavailable

UID = "11111111-2222-3333-4444-555555555555"
ID = UID.replace("-", "") + "-1"
RUNNING = Instance(ID, UID, 1, "default", "web", task="RUNNING", pid=7)
STOPPED = replace(RUNNING, task="STOPPED", pid=0, exit=Exit(3, "2030-01-01T00:00:00Z"))
RECORD = replace(RUNNING, task=None, pid=0)
TOLD = Exit(137, "2030-01-01T00:00:00Z", true=False)


class Source:
    """containerd as the view sees it: ``truth`` is what is there, ``gate`` holds answers back after they were read."""

    def __init__(self) -> None:
        self.truth: dict[str, Instance] = {}
        self.queue: asyncio.Queue[RuntimeEvent | None] = asyncio.Queue()
        self.gate: asyncio.Event | None = None
        self.broken = False
        self.lists = self.looks = 0

    async def list(self) -> Sequence[Instance]:
        self.lists += 1
        answer = list(self.truth.values())
        await self._pass()
        return answer

    async def look(self, id: str) -> Instance | None:
        self.looks += 1
        answer = self.truth.get(id)
        await self._pass()
        return answer

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        if self.broken:
            raise Unavailable("no containerd")
        yield RuntimeEvent("", "subscribed")
        while (event := await self.queue.get()) is not None:
            yield event
        raise Unavailable("the stream broke")

    async def _pass(self) -> None:
        if self.broken:
            raise Unavailable("no containerd")
        if self.gate is not None:
            await self.gate.wait()


class Rig:
    """A view that follows a source."""

    def __init__(self) -> None:
        self.source, self.clock, self.woken = Source(), ManualClock(), list[str]()
        source: Any = self.source
        self.view = RuntimeView(source, source, self.clock, RememberingLog(), lambda i: self.woken.append(i.uid))

    async def __aenter__(self) -> Rig:
        self.task = asyncio.create_task(self.view.run())
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def tell(self, topic: str, exit: Exit | None = None, id: str = ID) -> None:
        self.source.queue.put_nowait(RuntimeEvent(id, topic, exit))
        await self.settle()

    async def settle(self) -> None:
        await self.clock.run(0.6)


async def test_listed_when_the_subscription_stands() -> None:
    async with Rig() as rig:
        assert rig.view.fresh
        assert rig.source.lists == 1
        rig.source.truth[ID] = RUNNING
        await rig.view.relist()
        assert rig.view.of(UID) == (RUNNING,)
        assert rig.woken == [UID]
        await rig.view.relist()
        assert rig.woken == [UID], "nobody is woken by what is as it was"


async def test_an_event_marks_and_the_next_look_tells_the_truth() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.tell("/tasks/start")
        assert rig.view.of(UID) == ()
        assert await rig.view.settle(UID) == (RUNNING,)
        await rig.view.settle(UID)
        assert rig.source.looks == 1, "what is clean is not read again"


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_events_told_again_change_nothing(times: int) -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = STOPPED
        for _ in range(times):
            await rig.tell("/tasks/exit", TOLD)
        assert await rig.view.settle(UID) == (STOPPED,)
        assert rig.source.looks == 1


async def test_events_in_any_order_end_in_the_same_view() -> None:
    for order in (("/tasks/start", "/tasks/exit"), ("/tasks/exit", "/tasks/start")):
        async with Rig() as rig:
            rig.source.truth[ID] = STOPPED
            for topic in order:
                await rig.tell(topic, TOLD if topic == "/tasks/exit" else None)
            assert await rig.view.settle(UID) == (STOPPED,)


async def test_what_an_event_did_not_tell_the_list_does() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.view.relist()
        del rig.source.truth[ID]
        assert rig.view.of(UID) == (RUNNING,)
        await rig.view.relist()
        assert rig.view.of(UID) == ()
        assert rig.view.uids() == ()
        assert rig.woken == [UID, UID]


async def test_after_a_break_nothing_is_known_until_the_list_is_read_again() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.view.relist()
        rig.source.broken = True
        rig.source.queue.put_nowait(None)
        await rig.settle()
        assert not rig.view.fresh
        assert rig.woken[-1] == UID
        rig.source.truth[ID] = STOPPED
        rig.source.broken = False
        await rig.settle()
        await rig.settle()
        assert rig.view.fresh
        assert rig.view.of(UID) == (STOPPED,)


async def test_events_of_our_own_call_wake_nobody_but_an_exit_does() -> None:
    async with Rig() as rig:
        with rig.view.acting(ID):
            rig.source.truth[ID] = RUNNING
            await rig.tell("/tasks/create")
            await rig.tell("/tasks/start")
            assert rig.woken == []
            rig.source.truth[ID] = STOPPED
            await rig.tell("/tasks/exit", TOLD)
        rig.view.note(RUNNING)
        assert rig.woken == [UID]
        assert await rig.view.settle(UID) == (STOPPED,), "the exit during the launch is not lost"


async def test_a_call_that_failed_is_looked_at() -> None:
    async with Rig() as rig:
        with pytest.raises(InDoubt), rig.view.acting(ID):
            raise InDoubt("?")
        rig.source.truth[ID] = RUNNING
        assert await rig.view.settle(UID) == (RUNNING,)


async def test_a_look_that_fails_is_made_again() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.tell("/tasks/start")
        rig.source.broken = True
        with pytest.raises(Unavailable):
            await rig.view.settle(UID)
        rig.source.broken = False
        assert await rig.view.settle(UID) == (RUNNING,)


async def test_a_list_that_was_on_its_way_does_not_undo_what_we_did_meanwhile() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RECORD
        await rig.view.relist()
        rig.source.gate = asyncio.Event()
        listing = asyncio.create_task(rig.view.relist())
        await asyncio.sleep(0)
        with rig.view.acting(ID):
            rig.source.truth[ID] = RUNNING
        rig.view.note(RUNNING)
        rig.source.gate.set()
        await listing
        assert rig.view.of(UID) == (RUNNING,)


async def test_nor_what_fails_meanwhile() -> None:
    async with Rig() as rig:
        rig.source.gate = asyncio.Event()
        listing = asyncio.create_task(rig.view.relist())
        await asyncio.sleep(0)
        with pytest.raises(InDoubt), rig.view.acting(ID):
            raise InDoubt("?")
        rig.source.gate.set()
        await listing
        rig.source.truth[ID] = RUNNING
        assert await rig.view.settle(UID) == (RUNNING,), "it is still marked"


async def test_nor_an_event_that_came_meanwhile() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.view.relist()
        rig.source.gate = asyncio.Event()
        listing = asyncio.create_task(rig.view.relist())
        await asyncio.sleep(0)
        rig.source.truth[ID] = STOPPED
        await rig.tell("/tasks/exit", TOLD)
        rig.source.gate.set()
        await listing
        assert await rig.view.settle(UID) == (STOPPED,)


async def test_an_answer_from_before_our_act_is_not_believed() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RECORD
        await rig.tell("/containers/update")
        rig.source.gate = asyncio.Event()
        looking = asyncio.create_task(rig.view.settle(UID))
        await asyncio.sleep(0)
        with rig.view.acting(ID):
            rig.source.truth[ID] = RUNNING
        rig.view.note(RUNNING)
        rig.source.gate.set()
        assert await looking == (RUNNING,)


async def test_two_who_look_at_once_both_get_the_truth() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.tell("/tasks/start")
        rig.source.gate = asyncio.Event()
        first, second = asyncio.create_task(rig.view.settle(UID)), asyncio.create_task(rig.view.settle(UID))
        await asyncio.sleep(0)
        rig.source.gate.set()
        assert await first == await second == (RUNNING,)


async def test_the_number_of_a_vanished_task_is_kept_as_told() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = RUNNING
        await rig.view.relist()
        rig.source.truth[ID] = RECORD
        await rig.tell("/tasks/exit", replace(TOLD, true=True))
        (seen,) = await rig.view.settle(UID)
        assert seen.exit == TOLD, "told by an event only: never true"


async def test_want_of_memory_is_told_by_the_event_alone() -> None:
    async with Rig() as rig:
        rig.source.truth[ID] = STOPPED
        await rig.tell("/tasks/exit", replace(TOLD, oom=True))
        (seen,) = await rig.view.settle(UID)
        assert seen.exit is not None
        assert (seen.exit.code, seen.exit.true, seen.exit.oom) == (3, True, True)


@pytest.mark.parametrize("id", ["nginx", "a-b", "x" * 32 + "-y", "1" * 31 + "-1", "-", ""])
async def test_what_is_not_ours_by_name_wakes_nobody(id: str) -> None:
    async with Rig() as rig:
        if id:
            await rig.tell("/tasks/exit", TOLD, id=id)
        assert rig.woken == []


async def test_an_instance_that_nobody_knew_wakes_its_uid() -> None:
    async with Rig() as rig:
        await rig.tell("/containers/create")
        assert rig.woken == [UID]
