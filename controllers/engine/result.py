"""What one pass over a key answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from state.objects import Key


@dataclass(frozen=True, slots=True)
class Result:
    """``after``: look again in that time (zero: at once, at the back of the queue). None: nothing to wait for but events
    and the resync. The shortest of several waits wins. A pass that failed raises instead, and the engine backs off."""

    after: timedelta | None = None


DONE = Result()
AGAIN = Result(timedelta(0))


class Reconciler(Protocol):
    """Drives one object towards what is declared. Told a key, never an event; safe to call at any time, any number of times."""

    @property
    def kind(self) -> str: ...

    async def reconcile(self, key: Key) -> Result:
        """Raises Invalid or Denied when trying again cannot help until something changes; any other error is retried with
        back-off; InDoubt means that a call may still happen, and the next pass must look before it acts."""
