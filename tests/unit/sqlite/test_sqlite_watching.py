"""Watches over the ring and the log: lag, compaction, resuming, closing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, Watching, configmap, key
from state.errors import Gone, Unavailable
from state.sqlite.journal import Retention
from state.sqlite.store import SqliteStore
from state.store import Selection

Open = Callable[..., Awaitable[SqliteStore]]


async def churn(store: SqliteStore, count: int, name: str = "c") -> None:
    for value in range(count):
        await store.patch(key(configmap(name)), {"data": {"x": str(value)}}, manager="m")


async def values(watch: Watching, count: int) -> list[str]:
    events = [await watch.next() for _ in range(count)]
    return [event.stored.object["data"]["x"] for event in events if event.stored]


async def test_who_lags_behind_the_ring_reads_the_log(open_store: Open) -> None:
    store = await open_store(ring=4)
    made = await store.create(configmap("c", x=""), manager="m")
    slow = Watching(store.watch(CONFIGMAPS, since=made.revision))
    await churn(store, 50)
    assert await values(slow, 50) == [str(n) for n in range(50)]
    await churn(store, 1)
    assert await values(slow, 1) == ["0"]


async def test_selections_hold_over_the_log(open_store: Open) -> None:
    store = await open_store(ring=2)
    made = await store.create(configmap("c", labels={"a": "1"}), manager="m")
    for label in ("2", "1", "2", "2"):
        await store.patch(made.key, {"metadata": {"labels": {"a": label}}, "data": {"n": label}}, manager="m")
    await store.delete(made.key)
    watch = Watching(store.watch(Selection("ConfigMap", labels="a=1"), since=0))
    assert await watch.take(4) == [("ADDED", "c"), ("DELETED", "c"), ("ADDED", "c"), ("DELETED", "c")]


async def test_resuming_after_a_restart(open_store: Open) -> None:
    store = await open_store()
    made = await store.create(configmap("c", x=""), manager="m")
    await churn(store, 3)
    await store.close()
    store = await open_store()
    watch = Watching(store.watch(CONFIGMAPS, since=made.revision))
    assert await values(watch, 3) == ["0", "1", "2"]


async def test_old_changes_are_compacted_by_age(open_store: Open, clock: Any) -> None:
    store = await open_store(ring=4, retention=Retention(every=16))
    made = await store.create(configmap("c", x=""), manager="m")
    await churn(store, 10)
    clock.advance(1800)
    young = (await store.list(CONFIGMAPS)).revision
    clock.advance(1801)
    await churn(store, 20)
    assert store.compacted == young
    with pytest.raises(Gone):
        await Watching(store.watch(CONFIGMAPS, since=made.revision)).next()
    assert (await Watching(store.watch(CONFIGMAPS, since=young)).next()).revision == young + 1


async def test_and_by_number(open_store: Open) -> None:
    store = await open_store(ring=4, retention=Retention(rows=20, every=16))
    await store.create(configmap("c", x=""), manager="m")
    await churn(store, 60)
    assert store.revision - 36 <= store.compacted <= store.revision - 20
    with pytest.raises(Gone):
        await Watching(store.watch(CONFIGMAPS, since=store.compacted - 1)).next()
    await Watching(store.watch(CONFIGMAPS, since=store.compacted)).next()


async def test_compaction_is_kept_over_a_restart(open_store: Open) -> None:
    store = await open_store(retention=Retention(rows=20, every=16))
    await store.create(configmap("c", x=""), manager="m")
    await churn(store, 60)
    compacted = store.compacted
    await store.close()
    assert (await open_store()).compacted == compacted > 0


async def test_who_lags_behind_the_log_is_told(open_store: Open) -> None:
    store = await open_store(ring=4, retention=Retention(rows=10, every=16))
    made = await store.create(configmap("c", x=""), manager="m")
    slow = Watching(store.watch(CONFIGMAPS, since=made.revision))
    await churn(store, 1)
    assert await values(slow, 1) == ["0"]
    await churn(store, 60)
    with pytest.raises(Gone):
        await slow.next()


async def test_a_closed_watch_is_freed_at_once(open_store: Open) -> None:
    store = await open_store()

    async def consume(ready: asyncio.Event) -> None:
        async for _ in store.watch(Selection("Namespace")):
            ready.set()

    ready = [asyncio.Event() for _ in range(50)]
    tasks = [asyncio.create_task(consume(each)) for each in ready]
    async with asyncio.timeout(10):
        await asyncio.gather(*(each.wait() for each in ready))
        while store.waiting_watchers < 50:  # noqa: ASYNC110
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert store.waiting_watchers == 0


async def test_closing_the_store_ends_watches(open_store: Open) -> None:
    store = await open_store()
    watch = Watching(store.watch(CONFIGMAPS))
    waiting = asyncio.create_task(watch.next())
    async with asyncio.timeout(10):
        while not store.waiting_watchers:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await waiting


async def test_many_watchers_see_every_change_once_and_in_order(open_store: Open) -> None:
    store = await open_store(ring=32)
    start = store.revision
    count = 200

    async def follow() -> list[int]:
        watch = Watching(store.watch(CONFIGMAPS, since=start))
        return [(await watch.next()).revision for _ in range(count)]

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    await asyncio.gather(*(store.create(configmap(f"c{n}"), manager="m") for n in range(count)))
    for revisions in await asyncio.gather(*followers):
        assert revisions == list(range(start + 1, start + 1 + count))


async def test_a_list_then_a_watch_misses_nothing_under_churn(open_store: Open) -> None:
    store = await open_store()
    writers = [asyncio.create_task(store.create(configmap(f"c{n:03}"), manager="m")) for n in range(100)]
    for _ in range(20):
        listing = await store.list(CONFIGMAPS)
        watch = Watching(store.watch(CONFIGMAPS, since=listing.revision))
        seen = {item.key.name for item in listing.items}
        while len(seen) < 100:
            event = await watch.next()
            assert event.stored
            assert event.stored.key.name not in seen
            seen.add(event.stored.key.name)
    await asyncio.gather(*writers)
