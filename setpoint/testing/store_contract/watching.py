"""What a store promises: watch."""

from __future__ import annotations

import asyncio

import pytest

from setpoint.testing.store_contract.objects import (
    CONFIGMAPS,
    CONTAINERS,
    configmap,
    container,
    key,
    meta,
    namespace,
    release,
    set_status,
    told,
    watching,
)
from state.errors import BadRequest, Gone, StateError
from state.store import Apply, Selection, Store


class WatchContract:
    """watch"""

    async def test_the_present_state_then_changes(self, store: Store) -> None:
        await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS) as watch:
            assert await watch.take(1) == [("ADDED", "a")]
            await store.create(container("b"), manager="m")
            await set_status(store, container("a"), phase="Running")
            assert await watch.take(2) == [("ADDED", "b"), ("MODIFIED", "a")]

    async def test_an_event_carries_the_object(self, store: Store) -> None:
        async with watching(store, CONFIGMAPS, initial=True) as watch:
            while (await watch.next()).type != "BOOKMARK":
                pass
            made = await store.create(configmap(a="1"), manager="m")
            event = await watch.next()
            assert event.stored == made
            assert event.revision == made.revision

    async def test_the_end_of_the_beginning(self, store: Store) -> None:
        await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS, initial=True) as watch:
            assert told(await watch.next()) == ("ADDED", "a")
            mark = await watch.next()
            assert (mark.type, mark.initial_end, mark.stored) == ("BOOKMARK", True, None)
            assert mark.revision > 0

    async def test_from_a_list(self, store: Store) -> None:
        await store.create(container("a"), manager="m")
        revision = (await store.list(CONTAINERS)).revision
        await store.create(container("b"), manager="m")
        async with watching(store, CONTAINERS, since=revision) as watch:
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_from_an_object(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        await set_status(store, container("a"), phase="Running")
        async with watching(store, CONTAINERS, since=made.revision) as watch:
            assert await watch.take(1) == [("MODIFIED", "a")]

    async def test_a_deletion(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.delete(made.key)
            event = await watch.next()
            assert told(event) == ("DELETED", "a")
            assert event.revision > made.revision
            assert event.stored is not None
            assert meta(event.stored)["resourceVersion"] == str(event.revision)

    async def test_the_way_of_a_finalizer(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS, since=made.revision) as watch:
            await store.delete(made.key)
            await release(store, container("a"))
            assert await watch.take(2) == [("MODIFIED", "a"), ("DELETED", "a")]

    async def test_no_change_no_event(self, store: Store) -> None:
        made = await store.create(configmap("a", x="1"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.update(made.object, manager="m")
            await store.patch(made.key, {"data": {"x": "1"}}, manager="m")
            await store.create(configmap("sentinel"), manager="m")
            assert await watch.take(1) == [("ADDED", "sentinel")]

    async def test_a_dry_run_tells_nobody(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.patch(made.key, {"data": {"x": "1"}}, manager="m", dry_run=True)
            await store.delete(made.key, dry_run=True)
            await store.create(configmap("sentinel"), manager="m")
            assert await watch.take(1) == [("ADDED", "sentinel")]

    async def test_a_refused_write_tells_nobody(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        async with watching(store, CONTAINERS, since=made.revision) as watch:
            with pytest.raises(StateError):
                await store.patch(made.key, {"spec": {"runState": "Flying"}}, manager="m")
            await store.create(container("sentinel"), manager="m")
            assert await watch.take(1) == [("ADDED", "sentinel")]

    async def test_other_kinds_are_not_told(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.create(container("x"), manager="m")
            await store.create(configmap("b"), manager="m")
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_other_namespaces_are_not_told(self, store: Store) -> None:
        await store.create(namespace("other"), manager="m")
        made = await store.create(configmap("a"), manager="m")
        there = configmap("there")
        there["metadata"]["namespace"] = "other"
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            await store.create(there, manager="m")
            await store.create(configmap("b"), manager="m")
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_entering_and_leaving_a_selection(self, store: Store) -> None:
        made = await store.create(configmap("a", labels={"app": "db"}), manager="m")
        chosen = Selection("ConfigMap", "default", labels="app=web")
        async with watching(store, chosen, since=made.revision) as watch:
            for label in ("web", "db"):
                await store.patch(made.key, {"metadata": {"labels": {"app": label}}}, manager="m")
            assert await watch.take(2) == [("ADDED", "a"), ("DELETED", "a")]

    async def test_staying_in_and_dying_in_a_selection(self, store: Store) -> None:
        made = await store.create(configmap("a", labels={"app": "web"}), manager="m")
        chosen = Selection("ConfigMap", "default", labels="app=web")
        async with watching(store, chosen, since=made.revision) as watch:
            await store.patch(made.key, {"data": {"x": "1"}}, manager="m")
            await store.delete(made.key)
            assert await watch.take(2) == [("MODIFIED", "a"), ("DELETED", "a")]

    async def test_dying_outside_is_not_told(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        chosen = Selection("ConfigMap", "default", labels="app=web")
        async with watching(store, chosen, since=made.revision) as watch:
            await store.delete(made.key)
            await store.create(configmap("b", labels={"app": "web"}), manager="m")
            assert await watch.take(1) == [("ADDED", "b")]

    async def test_a_field_selection(self, store: Store) -> None:
        made = await store.create(container("a"), manager="m")
        chosen = Selection("Container", "default", fields="status.phase=Running")
        async with watching(store, chosen, since=made.revision) as watch:
            for phase in ("Running", "Exited"):
                await set_status(store, container("a"), phase=phase)
            assert await watch.take(2) == [("ADDED", "a"), ("DELETED", "a")]

    async def test_the_future_is_gone(self, store: Store) -> None:
        revision = (await store.list(CONTAINERS)).revision
        with pytest.raises(Gone):
            async with watching(store, CONTAINERS, since=revision + 1_000_000) as watch:
                await watch.next()

    async def test_a_bad_selector(self, store: Store) -> None:
        with pytest.raises(BadRequest):
            async with watching(store, Selection("Container", fields="spec.image=x")) as watch:
                await watch.next()

    async def test_two_watchers_see_the_same(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as one, watching(store, CONFIGMAPS) as two:
            while told(await two.next()) != ("ADDED", "a"):
                pass
            await store.delete(made.key)
            assert await one.take(1) == await two.take(1) == [("DELETED", "a")]

    async def test_each_once_and_in_order_under_churn(self, store: Store) -> None:
        revision = (await store.list(CONFIGMAPS)).revision

        async def churn(number: int) -> None:
            obj = configmap(f"c{number}")
            await store.create(obj, manager="m")
            for value in range(5):
                await store.patch(key(obj), {"data": {"x": str(value)}}, manager="m")
            await store.delete(key(obj))

        async with watching(store, CONFIGMAPS, since=revision) as watch:
            writers = asyncio.gather(*(churn(number) for number in range(10)))
            events = [await watch.next() for _ in range(70)]
            await writers
        revisions = [event.revision for event in events]
        assert revisions == sorted(set(revisions))
        for number in range(10):
            mine = [event.type for event in events if event.stored and event.stored.key.name == f"c{number}"]
            assert mine == ["ADDED", *["MODIFIED"] * 5, "DELETED"]

    async def test_a_slow_watcher_misses_nothing(self, store: Store) -> None:
        made = await store.create(configmap("a"), manager="m")
        async with watching(store, CONFIGMAPS, since=made.revision) as watch:
            for value in range(50):
                await store.patch(made.key, {"data": {"x": str(value)}}, manager="m")
            seen = [(await watch.next()).stored for _ in range(50)]
        assert [each.object["data"]["x"] for each in seen if each] == [str(value) for value in range(50)]

    async def test_atomic_applies_are_told_one_by_one(self, store: Store) -> None:
        revision = (await store.list(CONTAINERS)).revision
        await store.apply([Apply(container("a"), "x"), Apply(container("b"), "x")])
        async with watching(store, CONTAINERS, since=revision) as watch:
            assert await watch.take(2) == [("ADDED", "a"), ("ADDED", "b")]
