"""The sweep on a small reconciler under the real engine: it passes when right, and each planted bug is caught."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest

from controllers.engine.backoff import Backoff
from controllers.engine.engine import Engine
from controllers.engine.ports import Clock
from controllers.engine.result import AGAIN, DONE, Result
from controllers.engine.settings import Settings
from setpoint.testing.clock import SeededRandom, SimClock
from setpoint.testing.crashing import World
from setpoint.testing.faults import Verdict
from setpoint.testing.scripted import RememberingLog
from setpoint.testing.simloop import Mode
from setpoint.testing.sweeping import Scenario, crash_points, replay, storm, sweep
from state.errors import AlreadyExists, NotFound, Unavailable
from state.objects import Key

KEYS = [Key("Box", "", f"b{i}") for i in range(3)]


class Node:
    """A node that holds records with parts; strict: making twice and removing twice are errors."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self.parts: set[str] = set()
        self.made: Counter[str] = Counter()

    async def look(self, name: str) -> tuple[bool, bool, str]:
        await asyncio.sleep(0.001)
        return name in self.records, name in self.parts, self.records.get(name, "")

    async def make_record(self, name: str, content: str) -> None:
        await asyncio.sleep(0.01)
        if name in self.records:
            raise AlreadyExists(name)
        self.records[name] = content
        self.made[name] += 1

    async def make_part(self, name: str) -> None:
        await asyncio.sleep(0.01)
        if name in self.parts:
            raise AlreadyExists(name)
        self.parts.add(name)

    async def drop_part(self, name: str) -> None:
        if name not in self.parts:
            raise NotFound(name)
        self.parts.discard(name)

    async def drop_record(self, name: str) -> None:
        if name not in self.records:
            raise NotFound(name)
        del self.records[name]


class Wishes:
    """What should be: name -> content; with a stream of changes."""

    def __init__(self) -> None:
        self.wanted: dict[str, str] = {}
        self.listeners: dict[asyncio.Queue[str], None] = {}

    def want(self, name: str, content: str | None) -> None:
        if content is None:
            self.wanted.pop(name, None)
        else:
            self.wanted[name] = content
        for listener in self.listeners:
            listener.put_nowait(name)

    async def get(self, name: str) -> str | None:
        await asyncio.sleep(0)
        return self.wanted.get(name)

    async def changes(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self.listeners[queue] = None
        try:
            yield ""
            while True:
                yield await queue.get()
        finally:
            del self.listeners[queue]


class Boxes:
    """The reconciler, with bugs to be planted by name."""

    kind = "Box"

    def __init__(self, node: Node, wishes: Wishes, bug: str = "") -> None:
        self.node, self.wishes, self.bug = node, wishes, bug
        self.asked: set[str] = set()

    async def reconcile(self, key: Key) -> Result:
        name = key.name
        want = await self.wishes.get(name)
        record, part, content = await self.node.look(name)
        if want is not None and record and content == want and part:
            return DONE
        if want is not None:
            return await self._make(name, want, record, part, content)
        if part and self.bug != "leaves the part":
            await self.node.drop_part(name)
        if record:
            await self.node.drop_record(name)
        return AGAIN if part or record else DONE

    async def _make(self, name: str, want: str, record: bool, part: bool, content: str) -> Result:
        if record and content != want:
            if part:
                await self.node.drop_part(name)
            await self.node.drop_record(name)
            return AGAIN
        if not record:
            await self.node.make_record(name, want)
            self.asked.add(name)
            await self.node.make_part(name)
        elif self.bug == "takes the record for the whole" or (self.bug == "believes its memory" and name in self.asked):
            return DONE
        else:
            await self.node.make_part(name)
        return AGAIN


def scenario(bug: str = "", resync: timedelta | None = timedelta(seconds=30)) -> Scenario:
    """Three boxes: made, one changed, one removed; then the world calms down and has to be right, and quiet."""

    async def run(world: World) -> None:
        node, wishes = Node(), Wishes()
        clock: Clock = world.wrap("clock", SimClock(), numbered=False)

        async def boot() -> None:
            ports = world.wrap("node", node), world.wrap("wishes", wishes)
            settings = Settings(backoff=Backoff(cap=timedelta(seconds=5)))
            engine = Engine(
                clock=clock, random=SeededRandom(1), log=RememberingLog(), deadline=timedelta(seconds=30), settings=settings
            )

            async def every_key() -> list[tuple[Key, int]]:
                return [(key, 0) for key in KEYS]

            engine.add(Boxes(*ports, bug=bug), keys=every_key, resync=resync)

            async def listen() -> None:
                while True:
                    with suppress(Unavailable):
                        async for name in ports[1].changes():
                            if name:
                                engine.enqueue(Key("Box", "", name))
                    await clock.sleep(1)

            listening = asyncio.get_running_loop().create_task(listen(), name="listener")
            await engine.run()
            await listening

        living = asyncio.get_running_loop().create_task(world.survive(boot), name="supervisor")
        for key in KEYS:
            wishes.want(key.name, "one")
        await asyncio.sleep(5)
        wishes.want("b0", "two")
        wishes.want("b1", None)
        await asyncio.sleep(5)
        world.calm()
        await asyncio.sleep(120)
        assert node.records == {"b0": "two", "b2": "one"}
        assert node.parts == {"b0", "b2"}
        assert node.made["b2"] == 1
        assert not living.done()

    return run


def test_the_points_are_the_calls_that_await() -> None:
    points = crash_points(scenario())
    assert len(points) > 25
    assert {point.kind for point in points} == {"async", "event"}
    assert points[0].number == 1


def test_a_right_reconciler_survives_every_single_and_double_kill() -> None:
    report = sweep(scenario(), second=5)
    assert not report.failures, report
    assert report.runs > 3 * len(report.points)
    assert len(report.traces) > 0.9 * report.runs
    assert report.hits["node.make_part", "after"] > 3


def test_a_right_reconciler_survives_refusals_and_late_answers() -> None:
    report = sweep(scenario(), modes=[Verdict.REFUSED, Verdict.SLOW, Verdict.TWICE, Verdict.DROP, Verdict.LATE])
    assert not report.failures, report
    # One hung call costs one key, never more: a kill or the end of the call is what heals it, as in life.
    for failure in sweep(scenario(), modes=[Verdict.HANG]).failures:
        assert "AssertionError" in failure.error


@pytest.mark.parametrize("mode", [Mode.LEGAL, Mode.HOSTILE], ids=lambda mode: mode.value)
def test_a_right_reconciler_survives_storms(mode: Mode) -> None:
    verdicts = [v for v in Verdict if v not in (Verdict.OK, Verdict.HANG, Verdict.LATE)]
    report = storm(scenario(), range(30), verdicts=verdicts, rate=0.1, mode=mode)
    assert not report.failures, report
    assert sum(count for (_, verdict), count in report.hits.items() if verdict != "ok") > 100


@pytest.mark.parametrize(
    ("bug", "found_by", "hidden_from"),
    [
        ("takes the record for the whole", Verdict.BEFORE, Verdict.SLOW),
        ("believes its memory", Verdict.REFUSED, Verdict.BEFORE),  # a kill heals it: memory dies too
    ],
    ids=["record for whole", "memory"],
)
def test_planted_bugs_are_caught_and_replay(bug: str, found_by: Verdict, hidden_from: Verdict) -> None:
    assert not sweep(scenario(bug), modes=[hidden_from]).failures
    report = sweep(scenario(bug), modes=[found_by])
    assert report.failures
    failure = report.failures[0]
    with pytest.raises(AssertionError):
        replay(scenario(bug), failure.replay)
    assert len(replay(scenario(), failure.replay).hits()) > 1


def test_a_bug_that_needs_no_fault_stops_the_sweep_at_once() -> None:
    with pytest.raises(AssertionError):
        sweep(scenario("leaves the part"))


def test_without_a_resync_lost_events_show() -> None:
    assert not sweep(scenario(), modes=[Verdict.DROP]).failures
    assert sweep(scenario(resync=None), modes=[Verdict.DROP]).failures


def test_storms_replay() -> None:
    verdicts = [v for v in Verdict if v not in (Verdict.OK, Verdict.HANG, Verdict.LATE)]
    report = storm(scenario("takes the record for the whole"), range(10), verdicts=verdicts, rate=0.1)
    assert report.failures
    with pytest.raises(AssertionError):
        replay(scenario("takes the record for the whole"), report.failures[0].replay, verdicts=verdicts)


def test_a_scenario_that_differs_between_runs_is_told() -> None:
    runs = 0

    async def changing(world: World) -> None:
        nonlocal runs
        runs += 1
        node = world.wrap("node", Node())
        for _ in range(3 if runs == 1 else 1):
            await node.look("x")

    report = sweep(changing, modes=[Verdict.SLOW])
    assert "never came to call" in str(report)
