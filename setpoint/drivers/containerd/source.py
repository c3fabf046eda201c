"""containerd's event stream as ``RuntimeEvent``s."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

from google.protobuf.any_pb2 import Any as AnyMessage

from controllers.container.ports import Exit, RuntimeEvent
from setpoint._pb import events_pb2, process_pb2, task_events_pb2, tasks_pb2, types_pb2
from setpoint.drivers.containerd import rpc
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.records import time
from setpoint.drivers.containerd.told import Told
from state.errors import StateError, Unavailable

STANDING = "/setpoint/subscribed"
ANNOUNCE_EVERY_S = 0.05
LIST_DEADLINE_S = 120.0
STREAM_LAG_S = 0.3
"""How much later than the end of a wait its event may come without being taken for lost; it comes within 10 ms."""


async def events(channel: Channel, told: Told) -> AsyncIterator[RuntimeEvent]:
    """Every event of records and tasks in the channel's namespace, whoever owns them: the list knows which are ours.

    Yields one with an empty id once the subscription stands. containerd does not say when that is (its headers come with the
    first event), so we publish events of our own until one arrives. Raises Unavailable when the stream breaks or ends.
    """
    queue: asyncio.Queue[RuntimeEvent | StateError] = asyncio.Queue()
    ends = Ends(channel, queue)
    reading = asyncio.create_task(_read_all(channel, told, queue, ends))
    try:
        while True:
            event = await queue.get()
            if isinstance(event, StateError):
                raise event
            yield event
    finally:
        reading.cancel()
        ends.close()


async def _read_all(channel: Channel, told: Told, queue: asyncio.Queue[RuntimeEvent | StateError], ends: Ends) -> None:
    token = str(uuid4()).encode()
    filters = [f'namespace=={channel.namespace},topic~="^/(tasks|containers|setpoint)/"']
    stream = channel.stream(rpc.EVENTS_SUBSCRIBE, events_pb2.SubscribeRequest(filters=filters), timeout_s=None)
    announcing = asyncio.create_task(_announce(channel, token))
    standing = False
    try:
        async for envelope in stream:
            if envelope.topic == STANDING:
                if not standing and envelope.event.value == token:
                    standing = True
                    announcing.cancel()
                    queue.put_nowait(RuntimeEvent("", "subscribed"))
                    await ends.follow_all()
            elif (event := read(envelope, told)) is not None and standing:
                ends.heard(event)
                queue.put_nowait(event)
        queue.put_nowait(Unavailable("containerd ended the event stream"))
    except StateError as error:
        queue.put_nowait(error)
    finally:
        announcing.cancel()


class Ends:
    """Waits for the end of every task, beside the stream: told only if the stream does not tell.

    containerd 2.4 loses events of a task that is deleted as soon as it has ended: the delete in one of three, both the exit and
    the delete in one of thirty (1.6: none of 60). Somebody else's ``task rm -f`` would then be found by the resync only.
    """

    def __init__(self, channel: Channel, queue: asyncio.Queue[RuntimeEvent | StateError]) -> None:
        self._channel, self._queue = channel, queue
        self._waits: dict[str, asyncio.Task[None]] = {}

    async def follow_all(self) -> None:
        """Every task there is."""
        reply = await self._channel.call(rpc.TASK_LIST, tasks_pb2.ListTasksRequest(), timeout_s=LIST_DEADLINE_S)
        for task in reply.tasks:
            if task.status != process_pb2.STOPPED:
                self._follow(task.id)

    def heard(self, event: RuntimeEvent) -> None:
        """The stream told this: a task that started is waited for, one that ended no longer."""
        if event.topic == "/tasks/start":
            self._follow(event.id)
        elif event.topic in {"/tasks/exit", "/tasks/delete"} and (wait := self._waits.pop(event.id, None)) is not None:
            wait.cancel()

    def close(self) -> None:
        for wait in self._waits.values():
            wait.cancel()
        self._waits.clear()

    def _follow(self, id: str) -> None:
        if (before := self._waits.pop(id, None)) is not None:
            before.cancel()
        self._waits[id] = asyncio.create_task(self._wait(id))

    async def _wait(self, id: str) -> None:
        with contextlib.suppress(StateError):  # however it ends, there is something to look at
            await self._channel.call(rpc.TASK_WAIT, tasks_pb2.WaitRequest(container_id=id), timeout_s=None)
        await asyncio.sleep(STREAM_LAG_S)
        self._queue.put_nowait(RuntimeEvent(id, "/tasks/delete"))


async def _announce(channel: Channel, token: bytes) -> None:
    event = AnyMessage(type_url="setpoint.dev/subscribed", value=token)
    while True:
        with contextlib.suppress(StateError):  # the stream itself tells what is wrong
            await channel.call(rpc.EVENTS_PUBLISH, events_pb2.PublishRequest(topic=STANDING, event=event))
        await asyncio.sleep(ANNOUNCE_EVERY_S)


def read(envelope: types_pb2.Envelope, told: Told) -> RuntimeEvent | None:
    """The event in an envelope, remembered in ``told``; None for execs, whose starter waits for them."""
    topic, value = envelope.topic, envelope.event.value
    match topic:
        case "/tasks/exit":
            exited = task_events_pb2.TaskExit.FromString(value)
            if exited.id not in {"", exited.container_id}:
                return None
            exit = Exit(exited.exit_status, time(exited.exited_at), true=False)
            return RuntimeEvent(exited.container_id, topic, told.exited(exited.container_id, exited.pid, exit))
        case "/tasks/oom":
            subject = task_events_pb2.TaskSubject.FromString(value).container_id
            told.killed_for_memory(subject)
            return RuntimeEvent(subject, topic)
        case "/tasks/delete":
            deleted = task_events_pb2.TaskDelete.FromString(value)
            return RuntimeEvent(deleted.container_id, topic) if deleted.id in {"", deleted.container_id} else None
        case "/tasks/exec-added" | "/tasks/exec-started":
            return None
    if topic.startswith("/containers/"):
        return RuntimeEvent(task_events_pb2.ContainerSubject.FromString(value).id, topic)
    return RuntimeEvent(task_events_pb2.TaskSubject.FromString(value).container_id, topic)
