"""Stores and ledgers in a folder of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from state.objects import Object
from state.sqlite.ledger import SqliteLedger
from state.sqlite.store import Options, SqliteStore


class HandClock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Uuids:
    def uid(self) -> str:
        return str(uuid.uuid4())


def as_it_is(obj: Object, old: Object | None, *, strict: bool = True) -> Object:
    """No admission: these tests are about keeping, not about what."""
    return obj


Open = Callable[..., Awaitable[SqliteStore]]
OpenLedger = Callable[..., Awaitable[SqliteLedger]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def open_store(tmp_path: Path, clock: HandClock) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def opened(path: Path | None = None, **options: Any) -> SqliteStore:
            chosen = Options(admit=as_it_is, **options)
            store = await SqliteStore.open(path or tmp_path / "store.db", clock=clock, ids=Uuids(), options=chosen)
            stack.push_async_callback(store.close)
            return store

        yield opened


@pytest.fixture
async def open_ledger(tmp_path: Path) -> AsyncIterator[OpenLedger]:
    async with AsyncExitStack() as stack:

        async def opened(path: Path | None = None) -> SqliteLedger:
            ledger = await SqliteLedger.open(path or tmp_path / "ledger.db")
            stack.push_async_callback(ledger.close)
            return ledger

        yield opened
