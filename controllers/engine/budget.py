"""A node-wide budget: so many starts a second, and a burst."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from controllers.engine.ports import Clock

_STALE_S = 60.0
"""A reservation that nobody came for is dropped that long after its time; its share is lost, nothing else."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket in its one-number form (GCRA, the generic cell rate algorithm of ITU-T I.371). ``full_at`` is the instant
    at which the bucket would be full again. Pure."""

    rate: float
    burst: int
    full_at: float = float("-inf")

    def reserve(self, now: float) -> tuple[float, Bucket]:
        """The instant from which one token may be used (``now`` if there is one), and the bucket without it."""
        interval = 1.0 / self.rate
        at = max(now, self.full_at - (self.burst - 1) * interval)
        return at, Bucket(self.rate, self.burst, max(now, self.full_at) + interval)


class Budget:
    """Shares ``rate`` tokens a second, at most ``burst`` at once, among holders. A holder that must wait has its turn reserved:
    n waiting holders come back n times in all, not n times each."""

    def __init__(self, clock: Clock, *, rate: float = 4.0, burst: int = 8) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("rate must be above 0 and burst at least 1")
        self._clock = clock
        self._bucket = Bucket(rate, burst)
        self._turns: dict[str, float] = {}

    def take(self, holder: str) -> timedelta:
        """Zero: go ahead, the token is yours. Otherwise how long to wait before asking again; the turn is kept till then."""
        now = self._clock.monotonic()
        at = self._turns.pop(holder, None)
        if at is None:
            at, self._bucket = self._bucket.reserve(now)
        if at <= now:
            self._drop_stale(now)
            return timedelta(0)
        self._turns[holder] = at
        # A microsecond more: timedelta rounds, and a holder that comes back just too early would come twice.
        return timedelta(seconds=at - now, microseconds=1)

    def tune(self, rate: float) -> None:
        """Another rate from now on; turns that were given stay as they are."""
        if rate > 0 and rate != self._bucket.rate:
            self._bucket = Bucket(rate, self._bucket.burst, self._bucket.full_at)

    def forget(self, holder: str) -> None:
        """The holder will not come back."""
        self._turns.pop(holder, None)

    def waiting(self) -> int:
        return len(self._turns)

    def _drop_stale(self, now: float) -> None:
        for holder in [h for h, at in self._turns.items() if now - at > _STALE_S]:
            del self._turns[holder]
