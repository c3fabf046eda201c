"""A reconciler that does what a script says, and a log and a meter that remember: for tests of the engine.

What they get wrong: a scripted pass touches nothing, so it cannot conflict with another; the log formats nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from controllers.engine.ports import Clock
from controllers.engine.result import DONE, Result
from state.objects import Key


@dataclass(frozen=True, slots=True)
class Takes:
    """A pass that takes time, and then ends with ``then``."""

    time: timedelta
    then: Step = DONE


@dataclass(frozen=True, slots=True)
class Hangs:
    """A pass that does not return until ``until`` is set, and then ends with ``then``."""

    until: asyncio.Event
    then: Step = DONE


Step = Result | Exception | Takes | Hangs


class ScriptedReconciler:
    """Plays, for each key, its own list of steps, one per pass; the last one again and again."""

    def __init__(
        self, clock: Clock, script: Mapping[Key, Sequence[Step]] | Callable[[Key, int], Step] | None = None, kind: str = "Thing"
    ) -> None:
        self._clock = clock
        self._script = script
        self._kind = kind
        self.passes: list[tuple[float, Key]] = []
        """(start, key) of every pass, in order."""
        self.active: Counter[Key] = Counter()
        self.most_active = 0
        self.overlaps: list[Key] = []
        """Keys that were in two passes at a time: to be empty."""

    @property
    def kind(self) -> str:
        return self._kind

    def count(self, key: Key) -> int:
        return sum(1 for _, seen in self.passes if seen == key)

    def times(self, key: Key) -> list[float]:
        return [at for at, seen in self.passes if seen == key]

    async def reconcile(self, key: Key) -> Result:
        number = self.count(key)
        self.passes.append((self._clock.monotonic(), key))
        if self.active[key]:
            self.overlaps.append(key)
        self.active[key] += 1
        self.most_active = max(self.most_active, self.active.total())
        try:
            return await self._play(self._step(key, number))
        finally:
            self.active[key] -= 1

    def _step(self, key: Key, number: int) -> Step:
        if self._script is None:
            return DONE
        if callable(self._script):
            return self._script(key, number)
        steps = self._script.get(key) or (DONE,)
        return steps[min(number, len(steps) - 1)]

    async def _play(self, step: Step) -> Result:
        match step:
            case Result():
                return step
            case Takes(time, then):
                await self._clock.sleep(time.total_seconds())
                return await self._play(then)
            case Hangs(until, then):
                await until.wait()
                return await self._play(then)
            case error:
                raise error


@dataclass(slots=True)
class RememberingLog:
    """Every line as (level, event, values)."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, /, **values: object) -> None:
        self.lines.append(("info", event, values))

    def warning(self, event: str, /, **values: object) -> None:
        self.lines.append(("warning", event, values))

    def error(self, event: str, /, **values: object) -> None:
        self.lines.append(("error", event, values))

    def events(self, level: str = "") -> list[str]:
        return [event for seen, event, _ in self.lines if level in ("", seen)]


@dataclass(slots=True)
class CountingMeter:
    """Counts by (kind, outcome); sums by kind."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    listed: Counter[str] = field(default_factory=Counter)

    def passed(self, kind: str, outcome: str, seconds: float) -> None:
        self.outcomes[kind, outcome] += 1

    def waited(self, kind: str, seconds: float) -> None:
        self.waits.append(seconds)

    def resynced(self, kind: str, keys: int) -> None:
        self.listed[kind] += keys
