"""A commit whose outcome nobody knows: said to be in doubt, then looked up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, Watching, configmap
from state.errors import InDoubt, Unavailable
from state.sqlite.store import SqliteStore

Open = Callable[..., Awaitable[SqliteStore]]


class Failing:
    """A connection on which one statement fails with an error of SQLite's, before or after it was done."""

    def __init__(self, inner: Any, statement: str, code: int, *, done: bool) -> None:
        self._inner = inner
        self._statement = statement
        self._code = code
        self._done = done

    def exec_driver_sql(self, statement: str) -> Any:
        if statement == self._statement:
            self._statement = ""
            if self._done:
                self._inner.exec_driver_sql(statement)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._inner.exec_driver_sql(statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def fail_next(store: SqliteStore, statement: str, code: int, *, done: bool = False) -> None:
    database: Any = store.database
    database._writing = Failing(database._writing, statement, code, done=done)


@pytest.mark.parametrize("done", [True, False])
async def test_a_failed_commit_is_in_doubt(open_store: Open, done: bool) -> None:
    store = await open_store()
    watch = Watching(store.watch(CONFIGMAPS, since=store.revision))
    fail_next(store, "COMMIT", sqlite3.SQLITE_IOERR, done=done)
    with pytest.raises(InDoubt):
        await store.create(configmap("doubtful"), manager="m")
    names = [item.key.name for item in (await store.list(CONFIGMAPS)).items]
    assert names == (["doubtful"] if done else [])
    if done:
        assert await watch.take(1) == [("ADDED", "doubtful")]
    made = await store.create(configmap("after"), manager="m")
    assert made.revision == 2 + len(names)
    assert await watch.take(1) == [("ADDED", "after")]


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "SAVEPOINT job", "RELEASE job"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY])
async def test_an_earlier_failure_changed_nothing(open_store: Open, statement: str, code: int) -> None:
    store = await open_store()
    fail_next(store, statement, code)
    tries = (store.create(configmap(f"c{n}"), manager="m") for n in range(3))
    results = await asyncio.gather(*tries, return_exceptions=True)
    failed = sum(isinstance(result, Unavailable) for result in results)
    assert failed >= 1
    assert len((await store.list(CONFIGMAPS)).items) == 3 - failed
    made = await store.create(configmap("after"), manager="m")
    assert made.revision == 1 + (3 - failed) + 1
