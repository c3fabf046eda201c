"""Events for people (core/v1), written behind: a start never waits for one, and at rest nothing is written.

The same thing happening again raises ``count`` of one Event. Old ones are dropped when new ones are written.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from controllers.engine.ports import Clock, Log
from state.errors import StateError
from state.objects import API_VERSION, Key, Object
from state.store import DeleteOptions, Selection, Store

FLUSH_S = 1.0
KEPT = timedelta(hours=1)
MOST_KEPT = 1000
MANAGER = "setpoint-agent"


@dataclass(slots=True)
class _Pending:
    """One row to be written: how often it happened since the last flush."""

    key: Key
    uid: str
    reason: str
    message: str
    warning: bool
    first: datetime
    last: datetime
    count: int = 1

    @property
    def name(self) -> str:
        told = hashlib.sha256(f"{self.uid}\0{self.reason}\0{self.message}".encode()).hexdigest()[:16]
        return f"{self.key.name[:200]}.{told}"


class EventRecorder:
    """Implements ``Recorder``. ``run`` writes what ``record`` collected, once a second at most, in one group of commits."""

    def __init__(self, store: Store, clock: Clock, log: Log, source: str) -> None:
        self._store, self._clock, self._log, self._source = store, clock, log, source
        self._pending: dict[str, _Pending] = {}
        self._counts: dict[str, int] = {}

    def record(self, key: Key, uid: str, reason: str, message: str, *, warning: bool = False) -> None:
        now = self._clock.now()
        row = _Pending(key, uid, reason, message, warning, now, now)
        if (same := self._pending.get(row.name)) is not None:
            same.count += 1
            same.last = now
        elif len(self._pending) < MOST_KEPT:
            self._pending[row.name] = row

    async def run(self) -> None:
        while True:
            await self._clock.sleep(FLUSH_S)
            if self._pending:
                await self.flush()

    async def flush(self) -> None:
        rows, self._pending = list(self._pending.values()), {}
        try:
            for row in rows:
                await self._write(row)
            await self._drop_old()
        except StateError as error:
            self._log.warning("events could not be written", error=error.message, lost=len(rows))

    async def _write(self, row: _Pending) -> None:
        key = Key("Event", row.key.namespace or "default", row.name)
        count = self._counts.get(row.name, 0) + row.count
        if count > row.count:
            patch = {"count": count, "lastTimestamp": _stamp(row.last)}
            with suppress(StateError):
                await self._store.patch(key, patch, manager=MANAGER)
                self._counts[row.name] = count
                return
        with suppress(StateError):
            await self._store.create(self._event(row, key), manager=MANAGER)
            self._counts[row.name] = row.count

    def _event(self, row: _Pending, key: Key) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": row.key.kind,
                "namespace": row.key.namespace,
                "name": row.key.name,
                "uid": row.uid,
            },
            "reason": row.reason,
            "message": row.message[:1024],
            "type": "Warning" if row.warning else "Normal",
            "count": row.count,
            "firstTimestamp": _stamp(row.first),
            "lastTimestamp": _stamp(row.last),
            "source": {"component": "setpoint-agent", "host": self._source},
        }

    async def _drop_old(self) -> None:
        events = [(item, item.object) for item in (await self._store.list(Selection("Event"))).items]
        events.sort(key=lambda pair: str(pair[1].get("lastTimestamp") or ""))
        oldest = _stamp(self._clock.now() - KEPT)
        surplus = max(0, len(events) - MOST_KEPT)
        for number, (item, obj) in enumerate(events):
            if number < surplus or str(obj.get("lastTimestamp") or "") < oldest:
                with suppress(StateError):
                    await self._store.delete(item.key, DeleteOptions())
                self._counts.pop(item.key.name, None)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
