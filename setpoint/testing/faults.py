"""What can become of a call through a port, and schedules that say what becomes of which. See ``setpoint.testing.crashing``."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    OK = "ok"
    BEFORE = "before"
    AFTER = "after"
    LOST = "lost"
    LATE = "late"
    REFUSED = "refused"
    SLOW = "slow"
    HANG = "hang"
    DROP = "drop"
    TWICE = "twice"


FAULTS = tuple(verdict for verdict in Verdict if verdict is not Verdict.OK)

KILLS = frozenset({Verdict.BEFORE, Verdict.AFTER})

_FITTING: dict[str, frozenset[Verdict]] = {
    "async": frozenset(Verdict) - {Verdict.DROP, Verdict.TWICE},
    "sync": frozenset({Verdict.OK, Verdict.REFUSED}),
    "event": frozenset({Verdict.OK, Verdict.BEFORE, Verdict.REFUSED, Verdict.SLOW, Verdict.DROP, Verdict.TWICE}),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A verdict and, for ``slow`` and ``late``, the seconds."""

    verdict: Verdict = Verdict.OK
    seconds: float = 1.0


OK = Fault()


@dataclass(frozen=True, slots=True)
class Call:
    """One call through a port. ``number`` counts all calls, ``nth`` those of this method for this object; both from 1."""

    number: int
    port: str
    method: str
    object: str
    nth: int
    life: int
    kind: str
    """async, sync, or event (one item of a stream)."""

    @property
    def site(self) -> str:
        return f"{self.port}.{self.method}"

    def __str__(self) -> str:
        return f"{self.number} {self.site}({self.object})#{self.nth}"

    def fits(self, verdict: Verdict) -> bool:
        """Whether the verdict can become of a call of this kind. The first event of a stream, which says that it stands
        and names no object, is never lost or doubled."""
        if self.kind == "event" and not self.object and verdict in (Verdict.DROP, Verdict.TWICE):
            return False
        return verdict in _FITTING[self.kind]


class Schedule(Protocol):
    """What becomes of each call; asked once per call, in order."""

    def fault(self, call: Call) -> Fault: ...


class Exact:
    """Faults for the calls with these numbers, ``ok`` for the others."""

    def __init__(self, faults: Mapping[int, Fault] | None = None) -> None:
        self._faults = dict(faults or {})

    def fault(self, call: Call) -> Fault:
        return self._faults.get(call.number, OK)


class Named:
    """Faults for sites (``runtime.create``), each for its first ``times`` calls; for tests that mean one call."""

    def __init__(self, faults: Mapping[str, Fault], *, times: int = 1) -> None:
        self._faults = dict(faults)
        self._times = times
        self._seen: Counter[str] = Counter()

    def fault(self, call: Call) -> Fault:
        if call.site not in self._faults:
            return OK
        self._seen[call.site] += 1
        return self._faults[call.site] if self._seen[call.site] <= self._times else OK


class Drawn:
    """Faults by chance: ``rate`` of the calls, of kinds of which each seed switches a random half off (swarm: strong faults
    hide weak ones), at most ``kills`` kills."""

    def __init__(
        self,
        seed: int,
        *,
        rate: float = 0.05,
        verdicts: Sequence[Verdict] = FAULTS,
        kills: int = 3,
        longest_s: float = 20.0,
    ) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._longest_s = longest_s
        self._kills = kills
        self.verdicts = self._random.sample(list(verdicts), (len(verdicts) + 1) // 2)

    def fault(self, call: Call) -> Fault:
        if self._random.random() >= self._rate:
            return OK
        fitting = [v for v in self.verdicts if call.fits(v) and (v not in KILLS or self._kills > 0)]
        if not fitting:
            return OK
        verdict = self._random.choice(fitting)
        self._kills -= verdict in KILLS
        return Fault(verdict, self._random.uniform(0.0, self._longest_s))
