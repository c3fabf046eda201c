"""Answers that go on for long, and their end.

An agent that stops closes them itself: an end of stream tells a watcher to come back, a cut connection looks like a fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from state.errors import Unavailable

T = TypeVar("T")


class Streams:
    """The long answers that are under way, and the writes that must not be torn by a client that leaves."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()
        self._writes: set[asyncio.Task[Any]] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def until_closed(self) -> AsyncIterator[None]:
        """The body runs until it is done or the server stops; in the latter case it is ended without an error."""
        task = asyncio.current_task()
        assert task is not None
        if self._closing:
            raise Unavailable("the agent is stopping")
        self._open.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._closing or task.uncancel() > 0:
                raise
        finally:
            self._open.discard(task)

    async def finish(self, write: Coroutine[Any, Any, T]) -> T:
        """Runs a write to its end even if the client goes away meanwhile."""
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends the long answers and waits for the writes."""
        self._closing = True
        for task in list(self._open):
            task.cancel()
        if self._writes:
            await asyncio.wait(set(self._writes), timeout=10)
