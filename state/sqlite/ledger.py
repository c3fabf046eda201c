"""The Ledger on SQLite: a file of its own, held in memory whole; writes are durable before they are answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from state.errors import Invalid
from state.objects import Object
from state.sqlite.database import Database
from state.sqlite.errors import Corrupt
from state.sqlite.migrations import Schema
from state.sqlite.rows import checksum

DOCUMENTS = Table(
    "documents",
    MetaData(),
    Column("space", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("checksum", Integer, nullable=False),
)

_MIGRATIONS = (
    (
        "CREATE TABLE documents (space TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL, "
        "PRIMARY KEY (space, id))",
    ),
)

_Change = tuple[str, str, Object | None]


class _Cache:
    """The documents in memory, in step with the file. Changed on the writer thread, after the commit."""

    def __init__(self) -> None:
        self.spaces: dict[str, dict[str, Object]] = {}
        self._pending: list[_Change] = []

    def now(self, space: str, id: str) -> Object | None:
        """The document as the running transaction sees it."""
        for changed_space, changed_id, doc in reversed(self._pending):
            if (changed_space, changed_id) == (space, id):
                return doc
        return self.spaces.get(space, {}).get(id)

    def record(self, space: str, id: str, doc: Object | None) -> None:
        self._pending.append((space, id, doc))

    def load(self, connection: Connection) -> None:
        self._pending = []
        spaces: dict[str, dict[str, Object]] = {}
        for row in connection.execute(select(DOCUMENTS)):
            if _checksum(row.space, row.id, row.body) != row.checksum:
                raise Corrupt(f"the ledger's document {row.space}/{row.id} is damaged; it is left as it is")
            spaces.setdefault(row.space, {})[row.id] = orjson.loads(row.body)
        self.spaces = spaces

    def mark(self) -> int:
        return len(self._pending)

    def reset(self, mark: int) -> None:
        del self._pending[mark:]

    def flush(self, connection: Connection) -> bool:
        return bool(self._pending)

    def committed(self) -> None:
        for space, id, doc in self._pending:
            documents = self.spaces.setdefault(space, {})
            if doc is None:
                documents.pop(id, None)
            else:
                documents[id] = doc
        self._pending = []


class SqliteLedger:
    """Implements ``state.ledger.Ledger``. Made by :meth:`open`."""

    def __init__(self, database: Database, cache: _Cache) -> None:
        self._database = database
        self._cache = cache
        self._in_flight = 0

    @classmethod
    async def open(cls, path: Path, *, inline: bool = False) -> SqliteLedger:
        """The ledger in this file, made if there is none. Raises Corrupt, NewerSchema, Unavailable."""
        cache = _Cache()
        database = Database(path, SCHEMA, cache, inline=inline)
        await database.open()
        return cls(database, cache)

    async def close(self) -> None:
        await self._database.close()

    @property
    def database(self) -> Database:
        """For witnesses: counters and the path."""
        return self._database

    def get(self, space: str, id: str) -> Object | None:
        return self._cache.spaces.get(space, {}).get(id)

    def list(self, space: str) -> Mapping[str, Object]:
        return dict(self._cache.spaces.get(space, {}))

    async def put(self, space: str, id: str, doc: Object | None) -> None:
        await self.put_all({(space, id): doc})

    async def put_all(self, changes: Mapping[tuple[str, str], Object | None]) -> None:
        # with a write under way memory is not yet the last word: the writer thread compares again anyhow
        if not self._in_flight and all(self.get(*place) == doc for place, doc in changes.items()):
            return
        bodies = {place: _dumped(doc) for place, doc in changes.items()}
        self._in_flight += 1
        try:
            await self._database.write(lambda connection: self._put(connection, bodies))
        finally:
            self._in_flight -= 1

    def _put(self, connection: Connection, bodies: Mapping[tuple[str, str], bytes | None]) -> None:
        for (space, id), body in bodies.items():
            doc = orjson.loads(body) if body is not None else None
            if self._cache.now(space, id) == doc:
                continue
            if body is None:
                connection.execute(DOCUMENTS.delete().where(DOCUMENTS.c.space == space, DOCUMENTS.c.id == id))
            else:
                values = {"body": body, "checksum": _checksum(space, id, body)}
                statement = insert(DOCUMENTS).values(space=space, id=id, **values)
                connection.execute(statement.on_conflict_do_update(index_elements=["space", "id"], set_=values))
            self._cache.record(space, id, doc)


def _dumped(doc: Object | None) -> bytes | None:
    try:
        return None if doc is None else orjson.dumps(doc)
    except (TypeError, ValueError) as exc:
        raise Invalid(f"a document of the ledger is no JSON: {exc}") from exc


def _checksum(space: str, id: str, body: bytes) -> int:
    return checksum((space, id), body)


def _verify(connection: sqlite3.Connection) -> str:
    row: Any
    for row in connection.execute("SELECT space, id, body, checksum FROM documents"):
        if _checksum(row[0], row[1], row[2]) != row[3]:
            return f"the document {row[0]}/{row[1]} does not fit its checksum"
    return ""


SCHEMA = Schema(application_id=0x5350544C, migrations=_MIGRATIONS, verify=_verify)
