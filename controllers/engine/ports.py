"""What the engine and every slice need of the world besides their own ports: time, chance and names."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time. Intervals come from :meth:`monotonic` only, so that a wall clock that jumps changes nothing."""

    @property
    def boot_id(self) -> str:
        """Changes with every boot of the host; makes stored monotonic instants comparable."""

    def now(self) -> datetime:
        """Wall time, aware, UTC: for people, never for intervals."""

    def monotonic(self) -> float:
        """Seconds since boot, suspend included (CLOCK_BOOTTIME)."""

    async def sleep(self, seconds: float) -> None:
        """Returns after that many seconds; less than or equal to 0 still yields once."""


class Random(Protocol):
    """Chance, seeded in simulation."""

    def uniform(self, low: float, high: float) -> float: ...


class Ids(Protocol):
    """Fresh names."""

    def uid(self) -> str:
        """A new random UUID, lower case with dashes."""
