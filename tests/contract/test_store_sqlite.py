"""The Store contract on SQLite: on a fresh file, and on one that is closed and opened again before every read."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from setpoint.testing.store_contract import StoreContract
from state.objects import Key, Object, Stored
from state.sqlite.store import SqliteStore
from state.store import Applied, Apply, DeleteOptions, Listing, Selection, Store, WatchEvent


class Ticking:
    """A wall clock that goes on by a second at every look."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._seconds))


class Uuids:
    def uid(self) -> str:
        return str(uuid.uuid4())


async def opened(path: Path) -> SqliteStore:
    return await SqliteStore.open(path, clock=Ticking(), ids=Uuids())


class Reopening:
    """A store whose file is closed and opened again before a read that follows a write, unless somebody watches."""

    def __init__(self, path: Path, inner: SqliteStore) -> None:
        self._path = path
        self.inner = inner
        self._written = self._watched = False

    async def _again(self) -> SqliteStore:
        if self._written and not self._watched:
            await self.inner.close()
            self.inner = await opened(self._path)
            self._written = False
        return self.inner

    async def get(self, key: Key) -> Stored:
        return await (await self._again()).get(key)

    async def list(self, select: Selection, *, limit: int = 0, page: str = "") -> Listing:
        return await (self.inner if page else await self._again()).list(select, limit=limit, page=page)

    def watch(self, select: Selection, *, since: int | None = None, initial: bool = False) -> AsyncIterator[WatchEvent]:
        self._watched = True
        return self._watch(select, since, initial)

    async def _watch(self, select: Selection, since: int | None, initial: bool) -> AsyncIterator[WatchEvent]:
        store = self.inner
        events: Any = store.watch(select, since=since, initial=initial)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def create(self, obj: Object, **more: Any) -> Stored:
        self._written = True
        return await self.inner.create(obj, **more)

    async def update(self, obj: Object, **more: Any) -> Stored:
        self._written = True
        return await self.inner.update(obj, **more)

    async def patch(self, key: Key, patch: Any, **more: Any) -> Stored:
        self._written = True
        return await self.inner.patch(key, patch, **more)

    async def apply(self, requests: Sequence[Apply], *, dry_run: bool = False) -> Any:
        self._written = True
        done: list[Applied]
        done = await self.inner.apply(requests, dry_run=dry_run)
        return done

    async def delete(self, key: Key, options: DeleteOptions = DeleteOptions(), *, dry_run: bool = False) -> Stored:
        self._written = True
        return await self.inner.delete(key, options, dry_run=dry_run)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = await opened(tmp_path / "store.db")
        yield store
        await store.close()


class TestSqliteStoreReopened(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Reopening]:
        store = Reopening(tmp_path / "store.db", await opened(tmp_path / "store.db"))
        yield store
        await store.inner.close()
