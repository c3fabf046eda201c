"""Instants that survive the agent: (boot id, seconds since boot). A wall clock that jumps changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from controllers.engine.ports import Clock


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time of one boot, in seconds of CLOCK_BOOTTIME."""

    boot: str
    seconds: float

    def since(self, earlier: Instant) -> float | None:
        """Seconds from ``earlier`` to this; None when they belong to different boots."""
        return self.seconds - earlier.seconds if self.boot == earlier.boot else None

    def until(self, later: Instant) -> float:
        """Seconds left until ``later``; 0 when it has passed. An instant of another boot has passed."""
        return max(0.0, later.seconds - self.seconds) if self.boot == later.boot else 0.0

    def plus(self, seconds: float) -> Instant:
        return Instant(self.boot, self.seconds + seconds)


def read(clock: Clock) -> Instant:
    return Instant(clock.boot_id, clock.monotonic())
