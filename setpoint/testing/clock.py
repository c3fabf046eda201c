"""Time, chance and names for tests: made by hand, or by the simulation loop.

What they get wrong: time passes only when told to (``ManualClock``) or when nothing else can run (``SimClock``), so that a
computation takes no time at all; there is no suspend, and the wall clock never jumps unless the test makes it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the wall clocks of tests begin."""


class ManualClock:
    """Stands still until :meth:`advance` or :meth:`run`. Works on any loop."""

    def __init__(self, *, now: datetime = EPOCH, monotonic: float = 1000.0, boot_id: str = "boot-1") -> None:
        self._now = now
        self._monotonic = monotonic
        self._boot_id = boot_id
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    def advance(self, by: timedelta | float) -> None:
        """Moves both clocks and wakes whoever is due; they run when the caller next yields."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    async def run(self, by: timedelta | float, *, turns: int = 20) -> None:
        """Like :meth:`advance`, but from sleeper to sleeper, with ``turns`` turns of the loop at each, so that what wakes early
        can act, and sleep again, within the span."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        end = self._monotonic + seconds
        await self.settle(turns)
        while (due := self.next_due()) is not None and due <= end:
            self.advance(max(0.0, due - self._monotonic))
            await self.settle(turns)
        self.advance(end - self._monotonic)
        await self.settle(turns)

    async def settle(self, turns: int = 20) -> None:
        """Lets everything run that needs no time."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def next_due(self) -> float | None:
        """When the next sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def set_wall(self, now: datetime) -> None:
        """Somebody set the host's clock."""
        self._now = now

    def reboot(self, boot_id: str, *, monotonic: float = 5.0) -> None:
        """The host came up again: boot time starts anew, everybody who slept is gone."""
        self._boot_id, self._monotonic = boot_id, monotonic
        self._sleepers.clear()


class SimClock:
    """The virtual time of the running loop; needs no advancing under :class:`~setpoint.testing.simloop.SimLoop`."""

    def __init__(self, *, epoch: datetime = EPOCH, boot_id: str = "boot-1") -> None:
        self._epoch = epoch
        self._boot_id = boot_id

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class SeededRandom:
    """Chance that repeats."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


class FixedRandom:
    """Always the same share of the span: 0.0 is ``low``, 1.0 is ``high``; for tests of exact values."""

    def __init__(self, share: float = 0.0) -> None:
        self._share = share

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._share


class SequentialIds:
    """Valid UUIDs (version 4) that count up."""

    def __init__(self, start: int = 1) -> None:
        self._next = itertools.count(start)

    def uid(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._next):012x}"
