"""Events for people: written behind, counted, and dropped when old."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from setpoint.recording import EventRecorder
from setpoint.testing.clock import ManualClock, SequentialIds
from setpoint.testing.scripted import RememberingLog
from state.errors import Unavailable
from state.objects import Key, Object
from state.sqlite.store import Options, SqliteStore
from state.store import DeleteOptions, Selection

WEB = Key("Container", "default", "web")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "s.db", clock=clock, ids=SequentialIds(), options=Options(inline=True))
    yield opened
    await opened.close()


def recorder(store: SqliteStore, clock: ManualClock) -> EventRecorder:
    return EventRecorder(store, clock, RememberingLog(), "node")


async def events(store: SqliteStore) -> list[Object]:
    return [item.object for item in (await store.list(Selection("Event"))).items]


async def test_an_event_says_of_whom_what_and_when(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    told.record(WEB, "u", "StartFailed", "no such file", warning=True)
    assert await events(store) == [], "written behind"
    await told.flush()
    (event,) = await events(store)
    assert (event["reason"], event["type"], event["count"]) == ("StartFailed", "Warning", 1)
    assert event["involvedObject"]["uid"] == "u"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"


async def test_the_same_again_raises_the_count(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    for _ in range(3):
        told.record(WEB, "u", "Started", "x")
    await told.flush()
    clock.advance(5)
    told.record(WEB, "u", "Started", "x")
    await told.flush()
    (event,) = await events(store)
    assert (event["count"], event["lastTimestamp"]) == (4, "2026-01-01T00:00:05Z")


async def test_a_new_life_of_the_agent_goes_on_counting(store: SqliteStore, clock: ManualClock) -> None:
    for _ in range(2):
        told = recorder(store, clock)
        told.record(WEB, "u", "Started", "x")
        told.record(WEB, "u", "Started", "x")
        await told.flush()
    (event,) = await events(store)
    assert event["count"] == 4


async def test_one_that_somebody_deleted_begins_again(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    told.record(WEB, "u", "Started", "x")
    await told.flush()
    (item,) = (await store.list(Selection("Event"))).items
    await store.delete(item.key, DeleteOptions())
    told.record(WEB, "u", "Started", "x")
    await told.flush()
    (event,) = await events(store)
    assert event["count"] == 1


async def test_different_ones_are_apart(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    for uid, reason, message in (("u", "A", "x"), ("u", "B", "x"), ("u", "A", "y"), ("v", "A", "x")):
        told.record(WEB, uid, reason, message)
    await told.flush()
    assert len(await events(store)) == 4


async def test_old_ones_go_when_new_ones_come(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    told.record(WEB, "u", "A", "x")
    await told.flush()
    clock.advance(timedelta(hours=2))
    told.record(WEB, "u", "B", "x")
    await told.flush()
    assert [event["reason"] for event in await events(store)] == ["B"]


async def test_an_event_of_a_namespace_that_is_gone_is_dropped(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    told.record(Key("Container", "gone", "web"), "v", "A", "x")
    told.record(WEB, "u", "A", "x")
    await told.flush()
    assert len(await events(store)) == 1


async def test_a_store_that_is_away_is_logged_and_no_error(store: SqliteStore, clock: ManualClock) -> None:
    class Away:
        async def create(self, *_: object, **__: object) -> None:
            raise Unavailable("disk full")

    log = RememberingLog()
    told = EventRecorder(Away(), clock, log, "node")  # type: ignore[arg-type]
    told.record(WEB, "u", "A", "x")
    await told.flush()
    assert "events could not be written" in str(log.lines)


async def test_a_message_is_bounded(store: SqliteStore, clock: ManualClock) -> None:
    told = recorder(store, clock)
    told.record(WEB, "u", "A", "x" * 5000)
    await told.flush()
    (event,) = await events(store)
    assert len(event["message"]) == 1024
