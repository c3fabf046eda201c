"""Events for people (core/v1), written behind: a start never waits for one, and at rest nothing is written.

The same thing happening again raises ``count`` of one Event. Old ones are dropped when new ones are written.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from controllers.engine.ports import Clock, Log
from state.clock import rfc3339
from state.errors import AlreadyExists, Conflict, Denied, Invalid, NotFound, StateError
from state.objects import API_VERSION, Key, Object
from state.store import DeleteOptions, Selection, Store

FLUSH_S = 1.0
DROP_EVERY_S = 60.0
"""Looking for old ones reads all of them."""
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
        self._drop_at = float("-inf")

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
            # At once, for one group of commits.
            await asyncio.gather(*(self._write(row) for row in rows))
            if self._clock.monotonic() >= self._drop_at or len(self._counts) > MOST_KEPT:
                self._drop_at = self._clock.monotonic() + DROP_EVERY_S
                await self._drop_old()
        except StateError as error:
            self._log.warning("events could not be written", error=error.message, lost=len(rows))

    async def _write(self, row: _Pending) -> None:
        """A new Event, or a higher count of the one that is there, be it of a former life of the agent. One that cannot be kept
        (its namespace is gone) is dropped; a store that is away is the caller's."""
        key = Key("Event", row.key.namespace or "default", row.name)
        try:
            if row.name in self._counts:
                await self._raise(key, row)
            else:
                await self._store.create(self._event(row, key), manager=MANAGER)
                self._counts[row.name] = row.count
        except AlreadyExists:
            self._counts[row.name] = int((await self._store.get(key)).object.get("count") or 1)
            await self._raise(key, row)
        except NotFound:
            if self._counts.pop(row.name, None) is not None:  # somebody deleted it: begin again
                await self._write(row)
        except (Denied, Invalid, Conflict) as error:
            self._log.warning("event could not be written", event_name=row.name, error=error.message)

    async def _raise(self, key: Key, row: _Pending) -> None:
        count = self._counts[row.name] + row.count
        await self._store.patch(key, {"count": count, "lastTimestamp": rfc3339(row.last)}, manager=MANAGER)
        self._counts[row.name] = count

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
            "firstTimestamp": rfc3339(row.first),
            "lastTimestamp": rfc3339(row.last),
            "source": {"component": "setpoint-agent", "host": self._source},
        }

    async def _drop_old(self) -> None:
        events = [(item, item.object) for item in (await self._store.list(Selection("Event"))).items]
        events.sort(key=lambda pair: str(pair[1].get("lastTimestamp") or ""))
        oldest = rfc3339(self._clock.now() - KEPT)
        surplus = max(0, len(events) - MOST_KEPT)
        for number, (item, obj) in enumerate(events):
            if number < surplus or str(obj.get("lastTimestamp") or "") < oldest:
                with suppress(StateError):
                    await self._store.delete(item.key, DeleteOptions())
                self._counts.pop(item.key.name, None)
