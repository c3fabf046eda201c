"""How long to wait after a failure, and who has failed how often."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from controllers.engine.ports import Random

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential with a cap: ``first``, ``first * factor``, ... never more than ``cap``. ``jitter`` is the share of a wait
    that chance may take off, so that the cap stays a cap and keys that failed together do not come back together."""

    first: timedelta = timedelta(milliseconds=200)
    cap: timedelta = timedelta(minutes=2)
    factor: float = 2.0
    jitter: float = 0.25

    def base(self, failures: int) -> timedelta:
        """The wait after the n-th failure in a row (n >= 1), before jitter."""
        if failures < 1:
            return timedelta(0)
        # Beyond 64 doublings a float still holds, a timedelta does not.
        seconds = self.first.total_seconds() * self.factor ** min(failures - 1, 64)
        return timedelta(seconds=min(seconds, self.cap.total_seconds()))

    def delay(self, failures: int, random: Random) -> timedelta:
        """The wait after the n-th failure in a row, with jitter."""
        return self.base(failures) * (1.0 - self.jitter * random.uniform(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Failing:
    """A key that failed: how often in a row, the last message, the instant before which nothing is tried (``floor``), and that
    of our own retry (``retry``)."""

    failures: int
    message: str
    floor: float
    retry: float


class Failures(Generic[K]):
    """The keys that fail, and their back-off. An event does cut a back-off short, since it may bring what was missing, but
    only down to ``floor`` after the failure: a key whose own failing pass causes events must not spin."""

    def __init__(self, backoff: Backoff, random: Random, *, floor: timedelta) -> None:
        self._backoff = backoff
        self._random = random
        self._floor_s = floor.total_seconds()
        self._failing: dict[K, Failing] = {}

    def failed(self, key: K, message: str, *, now: float, at_least_s: float = 0.0) -> Failing:
        """One more failure; tells when to try again."""
        count = self._failing[key].failures + 1 if key in self._failing else 1
        delay = max(self._backoff.delay(count, self._random).total_seconds(), at_least_s)
        failing = Failing(count, message, now + min(delay, self._floor_s), now + delay)
        self._failing[key] = failing
        return failing

    def forget(self, key: K) -> None:
        self._failing.pop(key, None)

    def get(self, key: K) -> Failing | None:
        return self._failing.get(key)

    def floor(self, key: K) -> float:
        """The earliest instant at which the key may be tried; ``-inf`` when it does not fail."""
        failing = self._failing.get(key)
        return failing.floor if failing else float("-inf")

    def __len__(self) -> int:
        return len(self._failing)
