"""Every crash point, one after the other: a scenario is run once per (call, verdict), then with a second fault after the first.

A scenario is a coroutine function that takes a :class:`~setpoint.testing.crashing.World`: it builds the fakes, lets the program
live in the world (``world.survive(...)``), waits for the end state and asserts. It must build everything anew at each call and
do the same each time, which the simulation loop makes true and the sweep checks.

    points = crash_points(scenario)
    report = sweep(scenario, modes=(Verdict.BEFORE, Verdict.AFTER, Verdict.LOST), second=20)
    assert not report.failures, report
    replay(scenario, "legal seed=0 12=before 15=after")
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from setpoint.testing.crashing import World
from setpoint.testing.faults import FAULTS, KILLS, Call, Drawn, Exact, Fault, Schedule, Verdict
from setpoint.testing.simloop import Mode, Simulated, simulate

Scenario = Callable[[World], Coroutine[Any, Any, None]]

KILLS_AND_LOST = (Verdict.BEFORE, Verdict.AFTER, Verdict.LOST)


@dataclass(frozen=True, slots=True)
class Failure:
    """One run that went wrong. ``replay`` is what :func:`replay` takes."""

    replay: str
    calls: tuple[str, ...]
    error: str

    def __str__(self) -> str:
        return f"{self.replay}  [{'; '.join(self.calls)}]: {self.error}"


@dataclass(slots=True)
class Report:
    """All runs of a sweep. ``hits``: how often each (site, verdict) came up; ``traces``: hashes of the runs that passed."""

    runs: int = 0
    points: list[Call] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)
    traces: set[str] = field(default_factory=set)
    calls: int = 0

    def __str__(self) -> str:
        head = f"{len(self.failures)} of {self.runs} runs failed ({len(self.points)} points, {self.calls} calls)"
        return "\n".join([head, *(str(failure) for failure in self.failures[:20])])


@dataclass(frozen=True, slots=True)
class Runner:
    """How each run of a scenario is made. ``time_limit``: virtual seconds after which a run has not converged."""

    scenario: Scenario
    seed: int = 0
    mode: Mode = Mode.LEGAL
    time_limit: float = 3600.0

    def run(self, schedule: Schedule) -> tuple[World, Simulated[None] | BaseException]:
        world = World(schedule)
        try:
            return world, simulate(lambda: self.scenario(world), self.seed, self.mode, time_limit=self.time_limit)
        except (Exception, asyncio.CancelledError) as error:  # of the scenario, of the program, or found by the loop
            return world, error

    def run_into(self, report: Report, schedule: Schedule, replay: str, expected: Iterable[int] = ()) -> World:
        """One run, added to ``report``; a fault in ``expected`` that never came up is a failure: the runs differ."""
        world, ended = self.run(schedule)
        report.runs += 1
        report.calls += len(world.calls)
        report.hits.update(world.hits())
        hit = tuple(f"{line.call} {line.fault.verdict.value}" for line in world.lines if line.fault.verdict is not Verdict.OK)
        if isinstance(ended, BaseException):
            report.failures.append(Failure(replay, hit, f"{type(ended).__name__}: {ended}"))
        elif missing := [number for number in expected if number > len(world.calls)]:
            report.failures.append(Failure(replay, hit, f"the run never came to call {missing}"))
        else:
            report.traces.add(ended.trace)
        return world

    def name(self, faults: dict[int, Verdict]) -> str:
        return " ".join(
            [self.mode.value, f"seed={self.seed}", *(f"{number}={verdict.value}" for number, verdict in faults.items())]
        )


def crash_points(scenario: Scenario, *, seed: int = 0, mode: Mode = Mode.LEGAL, time_limit: float = 3600.0) -> list[Call]:
    """The calls of an undisturbed run at which a process can be killed, in order. Raises what the scenario raises."""
    world, ended = Runner(scenario, seed, mode, time_limit).run(Exact())
    if isinstance(ended, BaseException):
        raise ended
    return world.points


def sweep(
    scenario: Scenario,
    modes: Sequence[Verdict] = KILLS_AND_LOST,
    *,
    second: int = 0,
    second_modes: Sequence[Verdict] = (Verdict.BEFORE,),
    seed: int = 0,
    mode: Mode = Mode.LEGAL,
    time_limit: float = 3600.0,
) -> Report:
    """Runs the scenario once per point and fitting verdict, and after each kill again with a second fault at each of the next
    ``second`` calls, which are those of the recovery."""
    runner = Runner(scenario, seed, mode, time_limit)
    report = Report(points=crash_points(scenario, seed=seed, mode=mode, time_limit=time_limit))
    for point in report.points:
        for verdict in (v for v in modes if point.fits(v)):
            faults = {point.number: verdict}
            world = _one(runner, report, faults)
            if verdict not in KILLS:
                continue
            recovery = [call for call in world.points if call.number > point.number][:second]
            for call in recovery:
                for then in (v for v in second_modes if call.fits(v)):
                    _one(runner, report, {**faults, call.number: then})
    return report


def storm(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    verdicts: Sequence[Verdict] = FAULTS,
    rate: float = 0.05,
    mode: Mode = Mode.LEGAL,
    time_limit: float = 3600.0,
) -> Report:
    """Runs the scenario once per seed with faults drawn by it. The scenario calms the world (``world.calm()``) when it wants
    the end state."""
    report = Report()
    for seed in seeds:
        runner = Runner(scenario, seed, mode, time_limit)
        runner.run_into(report, Drawn(seed, rate=rate, verdicts=verdicts), f"{mode.value} seed={seed} rate={rate}")
    return report


def replay(scenario: Scenario, text: str, *, verdicts: Sequence[Verdict] = FAULTS, time_limit: float = 3600.0) -> World:
    """Runs one line of a report again and raises what it raises; answers the world to look at."""
    word, *rest = text.split()
    given = dict(part.split("=", 1) for part in rest)
    seed = int(given.pop("seed", "0"))
    rate = given.pop("rate", None)
    schedule: Schedule = Exact({int(number): Fault(Verdict(verdict)) for number, verdict in given.items()})
    if rate is not None:
        schedule = Drawn(seed, rate=float(rate), verdicts=verdicts)
    world, ended = Runner(scenario, seed, Mode(word), time_limit).run(schedule)
    if isinstance(ended, BaseException):
        raise ended
    return world


def _one(runner: Runner, report: Report, faults: dict[int, Verdict]) -> World:
    schedule = Exact({number: Fault(verdict) for number, verdict in faults.items()})
    return runner.run_into(report, schedule, runner.name(faults), faults)
