"""The store's memory beside its file: the revision counter, what the running transaction changed, and what is compacted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from state.clock import Ids, WallClock
from state.sqlite.ring import Change, Ring
from state.sqlite.rows import CHANGES, META, Rows


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the change log is kept: rows younger than ``seconds``, and about ``rows`` of them at most; looked at
    every so many revisions."""

    seconds: int = 3600
    rows: int = 20_000
    every: int = 512


class Journal:
    """Counts revisions and collects changes. Implements ``Memory`` of :mod:`state.sqlite.database`."""

    def __init__(self, rows: Rows, ring: Ring, clock: WallClock, ids: Ids, retention: Retention, engine_id: str = "") -> None:
        self.revision = 0
        self.compacted = 0
        self.facts: Mapping[str, str] = {}
        """The ``meta`` table: engine_id, epoch, created_at, restored_at."""
        self._pending: list[Change] = []
        self._rows = rows
        self._ring = ring
        self._clock = clock
        self._ids = ids
        self._retention = retention
        self._engine_id = engine_id
        self._swept_at = 0

    def record(self, change: Change) -> None:
        """One more change of the running transaction; its revision came from :meth:`next`."""
        self.revision = change.revision
        self._pending.append(change)

    @property
    def next(self) -> int:
        """The revision of the next change."""
        return self.revision + 1

    def load(self, connection: Connection) -> None:
        """Reads the counters; tells watchers of commits that we could not be sure of."""
        facts = {row.name: row.value for row in connection.execute(select(META))}
        if not facts:
            facts = self._begin(connection)
        self.facts = facts
        self.revision, self.compacted = int(facts["revision"]), int(facts["compacted"])
        self._pending = []
        if self._ring.head:
            missed = self._rows.changes(connection, self._ring.head, self.revision)
            self._ring.publish([change for change in missed if isinstance(change, Change)])
        self._ring.start(self.revision)
        self._swept_at = self.revision

    def mark(self) -> tuple[int, int]:
        return self.revision, len(self._pending)

    def reset(self, mark: tuple[int, int]) -> None:
        self.revision = mark[0]
        del self._pending[mark[1] :]

    def flush(self, connection: Connection) -> bool:
        if not self._pending:
            return False
        _set(connection, "revision", str(self.revision))
        if self.revision - self._swept_at >= self._retention.every:
            self._compact(connection)
            self._swept_at = self.revision
        return True

    def committed(self) -> None:
        changes, self._pending = self._pending, []
        self._ring.publish(changes)

    def _begin(self, connection: Connection) -> dict[str, str]:
        facts = {
            "engine_id": self._engine_id or self._ids.uid(),
            "epoch": self._ids.uid(),
            "created_at": self._clock.now().isoformat(),
            "restored_at": "",
            "revision": "0",
            "compacted": "0",
        }
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        for name, value in facts.items():
            _set(connection, name, value)
        connection.exec_driver_sql("COMMIT")
        return facts

    def _compact(self, connection: Connection) -> None:
        oldest = int(self._clock.now().timestamp()) - self._retention.seconds
        aged = connection.execute(select(func.max(CHANGES.c.revision)).where(CHANGES.c.at < oldest)).scalar()
        upto = max(aged or 0, self.revision - self._retention.rows)
        if upto > self.compacted:
            connection.execute(delete(CHANGES).where(CHANGES.c.revision <= upto))
            _set(connection, "compacted", str(upto))
            self.compacted = upto


def _set(connection: Connection, name: str, value: str) -> None:
    statement = insert(META).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value}))
