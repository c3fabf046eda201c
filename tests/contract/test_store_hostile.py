"""The hostile corpus against a real store: refused by create, by apply and as a change, and after each nothing has changed."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from setpoint.testing.hostile import HOSTILE
from state.errors import StateError
from state.objects import Object, key_of
from state.sqlite.store import Options, SqliteStore
from state.store import Apply, Selection

KINDS = ("Container", "Image", "Node", "Secret", "ConfigMap", "Namespace", "Event")


class _Seconds:
    def __init__(self) -> None:
        self._past = itertools.count()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._past))


class _Uuids:
    def uid(self) -> str:
        return str(uuid.uuid4())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "store.db", clock=_Seconds(), ids=_Uuids(), options=Options(inline=True))
    yield opened
    await opened.close()


async def _everything(store: SqliteStore) -> list[tuple[object, ...]]:
    listings = [await store.list(Selection(kind)) for kind in KINDS]
    return [(listing.revision, *((item.key, item.revision, item.body) for item in listing.items)) for listing in listings]


async def test_create_refuses_and_changes_nothing(store: SqliteStore) -> None:
    before = await _everything(store)
    for case in HOSTILE:
        with pytest.raises(StateError):
            await store.create(case.object, manager="test")
        assert await _everything(store) == before, case.name


async def test_apply_refuses_all_when_one_is_hostile(store: SqliteStore) -> None:
    before = await _everything(store)
    good: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "good", "namespace": "default"}}
    for case in HOSTILE:
        with pytest.raises(StateError):
            await store.apply([Apply(good, "test"), Apply(case.object, "test")])
        assert await _everything(store) == before, case.name


async def test_twins_are_taken_and_do_not_become_hostile(store: SqliteStore) -> None:
    for case in HOSTILE:
        if case.twin["metadata"].get("namespace", "default") != "default":
            continue  # its namespace would have to be made first
        [trial] = await store.apply([Apply(case.twin, "test")], dry_run=True)
        assert trial.outcome == "created", case.name
        stored = await store.create(case.twin, manager="test")
        key, before = stored.key, stored.body
        if key_of(case.object) == key:
            with pytest.raises(StateError):
                await store.update(case.object, manager="test")
            assert (await store.get(key)).body == before, case.name
        await _drop(store, stored.object)


async def _drop(store: SqliteStore, obj: Object) -> None:
    """Deletes the object, its finalizers too."""
    key = key_of(obj)
    await store.delete(key)
    try:
        live = (await store.get(key)).object
    except StateError:
        return
    live["metadata"].pop("finalizers", None)
    await store.update(live, manager="test")
