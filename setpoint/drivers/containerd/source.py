"""containerd's event stream as ``RuntimeEvent``s."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

from google.protobuf.any_pb2 import Any as AnyMessage

from controllers.container.ports import Exit, RuntimeEvent
from setpoint._pb import events_pb2, task_events_pb2, types_pb2
from setpoint.drivers.containerd import rpc
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.records import time
from setpoint.drivers.containerd.told import Told
from state.errors import StateError, Unavailable

STANDING = "/setpoint/subscribed"
ANNOUNCE_EVERY_S = 0.05


async def events(channel: Channel, told: Told) -> AsyncIterator[RuntimeEvent]:
    """Every event of records and tasks in the channel's namespace, whoever owns them: the list knows which are ours.

    Yields one with an empty id once the subscription stands. containerd does not say when that is (its headers come with the
    first event), so we publish events of our own until one arrives. Raises Unavailable when the stream breaks or ends.
    """
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
                    yield RuntimeEvent("", "subscribed")
            elif (event := read(envelope, told)) is not None and standing:
                yield event
    finally:
        announcing.cancel()
    raise Unavailable("containerd ended the event stream")


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
