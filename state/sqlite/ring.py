"""The recent changes in memory, shared by all watchers.

One ring of events by revision: a watcher is a cursor and nothing more, so a slow one holds no memory. Who falls behind the
ring reads on from the change log. Filled by the writer thread, read by the event loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from state.errors import Unavailable
from state.objects import Key, Stored

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class Facts(NamedTuple):
    """What selectors look at: labels and selectable fields."""

    labels: Mapping[str, str]
    fields: Mapping[str, str]


@dataclass(slots=True)
class Change:
    """One committed change. ``before`` is None for ADDED; ``after`` is worked out by the first watcher that asks."""

    revision: int
    type: ChangeType
    key: Key
    stored: Stored
    before: Facts | None
    after: Facts | None = field(default=None, compare=False)


class Ring:
    """The last ``size`` changes, and those who wait for the next."""

    def __init__(self, size: int) -> None:
        self.head = 0
        self._slots: list[Change | None] = [None] * size
        self._waiting: dict[asyncio.AbstractEventLoop, set[asyncio.Future[Any]]] = {}
        self._closed = False

    def start(self, head: int) -> None:
        """All up to this revision is known to be in the log."""
        self.head = max(self.head, head)

    def publish(self, changes: Sequence[Change]) -> None:
        """Called after the commit, on the writer thread, in the order of revisions."""
        if not changes:
            return
        for change in changes:
            self._slots[change.revision % len(self._slots)] = change
        self.head = changes[-1].revision
        self._wake()

    def at(self, revision: int) -> Change | None:
        """The change of this revision; None if it has left the ring."""
        change = self._slots[revision % len(self._slots)]
        return change if change is not None and change.revision == revision else None

    async def wait(self, cursor: int) -> None:
        """Returns once the head is past the cursor. Raises Unavailable when the store closes."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(loop, set())
        future: asyncio.Future[Any] = loop.create_future()
        waiting.add(future)
        try:
            # looked at after joining: a publish in between has then either woken us or is seen here
            if self.head <= cursor and not self._closed:
                await future
        finally:
            waiting.discard(future)
        if self._closed:
            raise Unavailable("the store is closed")

    @property
    def watchers(self) -> int:
        """How many wait now."""
        return sum(len(waiting) for waiting in list(self._waiting.values()))

    def close(self) -> None:
        """Ends every wait."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for loop in list(self._waiting):
            try:
                loop.call_soon_threadsafe(self._release, loop)
            except RuntimeError:
                with suppress(KeyError):
                    del self._waiting[loop]

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        for future in self._waiting.get(loop, ()):
            if not future.done():
                future.set_result(None)
