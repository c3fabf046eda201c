"""Which key next. A deduplicating queue with priorities and delays; pure: the caller brings the time.

A key is in one place at a time::

    add ──► waiting (until it is due) ──► ready ──► active (a worker has it) ──► gone
                                                      │ add while active: remembered, once
                                                      └──► waiting or ready again at ``done``

Instants are seconds of ``Clock.monotonic``.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_TURNS_BY_PRIORITY = 3
"""Between two turns that go by age."""


@dataclass(slots=True)
class Entry(Generic[K]):
    """One key's place. ``due`` is when it became, or becomes, ready. ``stamp`` tells the heap entry that still counts."""

    key: K
    due: float
    priority: int
    stamp: int
    ready: bool = False


class Queue(Generic[K]):
    """Served by priority (higher first), then first in first out. When keys have been ready for longer than ``patience``, every
    fourth turn is the oldest one's whatever its priority: urgent keys starve nobody, and a jam does not stop urgent ones."""

    def __init__(self, *, patience: float = 30.0) -> None:
        self._patience = patience
        self._entries: dict[K, Entry[K]] = {}
        self._active: dict[K, Entry[K] | None] = {}
        self._waiting: list[tuple[float, int, Entry[K]]] = []
        self._ready: list[tuple[int, int, Entry[K]]] = []
        self._arrivals: deque[tuple[int, Entry[K]]] = deque()  # in order of due
        self._stamps = 0
        self._by_priority = _TURNS_BY_PRIORITY

    def add(self, key: K, *, now: float, due: float, priority: int = 0) -> None:
        """The key will be served at ``due`` or as soon as possible after it. Of several adds the earliest ``due`` and the
        highest priority count. While the key is active the add is kept for afterwards."""
        self._promote(now)  # what fell due before goes before
        if key in self._active:
            kept = self._active[key]
            if kept is None:
                self._active[key] = Entry(key, due, priority, 0)
            else:
                kept.due, kept.priority = min(kept.due, due), max(kept.priority, priority)
            return
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(key, due, priority, 0)
            self._place(entry, now)
            return
        urgent, sooner = priority > entry.priority, due < entry.due
        entry.priority = max(entry.priority, priority)
        if entry.ready:
            if urgent:
                # The arrival keeps its old stamp, hence its age; only the place among the priorities is new.
                heapq.heappush(self._ready, (-entry.priority, entry.stamp, entry))
        elif sooner:
            entry.due = due
            self._place(entry, now)

    def pop(self, now: float) -> Entry[K] | None:
        """Takes the next due key, which is active from then on; None when none is due."""
        self._promote(now)
        entry = self._oldest(now) if self._by_priority >= _TURNS_BY_PRIORITY else None
        self._by_priority = 0 if entry else self._by_priority + 1
        entry = entry or self._first_ready()
        if entry is None:
            return None
        del self._entries[entry.key]
        self._active[entry.key] = None
        return entry

    def done(self, key: K, *, now: float, due: float | None = None, priority: int = 0) -> None:
        """The worker is through. ``due``: when to serve the key again. Adds that came meanwhile are honoured, all in one."""
        kept = self._active.pop(key)
        if kept is not None:
            self.add(key, now=now, due=kept.due, priority=kept.priority)
        if due is not None:
            self.add(key, now=now, due=due, priority=priority)

    def next_due(self) -> float | None:
        """When the next waiting key falls due; ``-inf`` when one is ready already; None when there is nothing at all."""
        if self._first_ready() is not None:
            return float("-inf")
        while self._waiting and not self._counts(self._waiting[0][1], self._waiting[0][2], ready=False):
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def has_due(self, now: float) -> bool:
        due = self.next_due()
        return due is not None and due <= now

    def postpone(self, key: K, *, not_before: float) -> None:
        """Adds that came while the key is active are served no earlier than that."""
        kept = self._active.get(key)
        if kept is not None:
            kept.due = max(kept.due, not_before)

    def get(self, key: K) -> Entry[K] | None:
        """Where a key that is not active stands; of an active one, what was asked for meanwhile."""
        return self._entries.get(key) or self._active.get(key)

    def entries(self) -> list[Entry[K]]:
        """Every key that is not active: the due ones in the order of service by priority, then the others by time."""
        return sorted(
            self._entries.values(), key=lambda e: (not e.ready, -e.priority if e.ready else 0, 0 if e.ready else e.due, e.stamp)
        )

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries or key in self._active

    def _place(self, entry: Entry[K], now: float) -> None:
        self._stamps += 1
        entry.stamp = self._stamps
        if entry.due <= now:
            entry.due = now  # ready from now on, whenever it was asked for
            self._make_ready(entry)
        else:
            heapq.heappush(self._waiting, (entry.due, entry.stamp, entry))

    def _make_ready(self, entry: Entry[K]) -> None:
        entry.ready = True
        heapq.heappush(self._ready, (-entry.priority, entry.stamp, entry))
        self._arrivals.append((entry.stamp, entry))

    def _promote(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, stamp, entry = heapq.heappop(self._waiting)
            if self._counts(stamp, entry, ready=False):
                self._stamps += 1
                entry.stamp = self._stamps
                self._make_ready(entry)

    def _counts(self, stamp: int, entry: Entry[K], *, ready: bool) -> bool:
        """Whether a heap's row is the entry's present one; rows are not removed when an entry moves, only passed over."""
        return entry.stamp == stamp and entry.ready == ready and self._entries.get(entry.key) is entry

    def _oldest(self, now: float) -> Entry[K] | None:
        while self._arrivals and not self._counts(*self._arrivals[0], ready=True):
            self._arrivals.popleft()
        if self._arrivals and now - self._arrivals[0][1].due > self._patience:
            return self._arrivals[0][1]
        return None

    def _first_ready(self) -> Entry[K] | None:
        while self._ready:
            _, stamp, entry = self._ready[0]
            if self._counts(stamp, entry, ready=True):
                return entry
            heapq.heappop(self._ready)
        return None
