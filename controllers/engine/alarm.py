"""One timer for all that waits: no task per key, no tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from controllers.engine.ports import Clock


class Alarm:
    """Calls ``ring`` once at the instant last set. Setting a later instant costs nothing: the early ring is harmless."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def set(self, at: float | None, *, exact: bool = False) -> None:
        """Rings at ``at``; None: never. An alarm that is set earlier stays, unless ``exact``."""
        if at == self._at or (not exact and self._at is not None and (at is None or at > self._at)):
            return
        self.cancel()
        if at is not None:
            self._at = at
            self._task = asyncio.get_running_loop().create_task(self._sleep(at), name="engine alarm")

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task, self._at = None, None

    async def _sleep(self, at: float) -> None:
        await self._clock.sleep(at - self._clock.monotonic())
        self._at, self._task = None, None
        self._ring()
