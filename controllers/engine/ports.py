"""What the engine and every slice need of the world besides their own ports: time, chance, names, a log and a meter."""

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


class Log(Protocol):
    """Structured log: a constant lower-case message, the facts as values."""

    def info(self, event: str, /, **values: object) -> object: ...

    def warning(self, event: str, /, **values: object) -> object: ...

    def error(self, event: str, /, **values: object) -> object: ...


class Meter(Protocol):
    """Told of what the engine does, as it happens. Must be quick and must not raise."""

    def passed(self, kind: str, outcome: str, seconds: float) -> None:
        """A pass ended. ``outcome``: done, again, later, refused, failed, in-doubt or overdue."""

    def waited(self, kind: str, seconds: float) -> None:
        """A key was taken up, that long after it became due."""

    def resynced(self, kind: str, keys: int) -> None:
        """A resync listed that many keys."""
