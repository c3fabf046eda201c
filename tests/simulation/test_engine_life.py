"""The engine in virtual time: boot, resync, the bulkhead, fairness, pause and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from controllers.engine.engine import Engine
from controllers.engine.result import AGAIN, DONE, Result
from controllers.engine.settings import Settings
from setpoint.testing.clock import FixedRandom, SeededRandom, SimClock
from setpoint.testing.scripted import CountingMeter, Hangs, RememberingLog, ScriptedReconciler, Step, Takes
from setpoint.testing.simloop import Mode, SimLoop, simulate
from state.errors import Unavailable
from state.objects import Key

BOTH = pytest.mark.parametrize("mode", [Mode.LEGAL, Mode.HOSTILE], ids=lambda mode: mode.value)
SECOND = timedelta(seconds=1)


def keys(count: int, kind: str = "Thing") -> list[Key]:
    return [Key(kind, "default", f"k{i}") for i in range(count)]


class Bench:
    def __init__(self, script: Any = None, *, seed: int | None = None, **options: Any) -> None:
        self.clock = SimClock()
        self.log = RememberingLog()
        self.meter = CountingMeter()
        self.things = ScriptedReconciler(self.clock, script)
        random = FixedRandom(0.5) if seed is None else SeededRandom(seed)
        self.engine = Engine(clock=self.clock, random=random, log=self.log, meter=self.meter, **options)
        self.task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self, **stop: Any) -> AsyncIterator[Bench]:
        self.task = asyncio.get_running_loop().create_task(self.engine.run(), name="engine")
        yield self
        await self.engine.stop(**stop)
        await self.task
        assert not self.things.overlaps


def listing(found: list[tuple[Key, int]]) -> Callable[[], Coroutine[Any, Any, list[tuple[Key, int]]]]:
    async def lister() -> list[tuple[Key, int]]:
        return found

    return lister


def play(main: Callable[[], Coroutine[Any, Any, None]], mode: Mode = Mode.LEGAL, seeds: int = 1) -> None:
    for seed in range(seeds if mode is Mode.HOSTILE else 1):
        simulate(main, seed, mode)


# Boot and resync.


def test_boot_serves_by_priority() -> None:
    async def main() -> None:
        bench = Bench(concurrency=1)
        some = keys(4)
        bench.engine.add(bench.things, keys=listing([(some[0], 0), (some[1], 5), (some[2], -3), (some[3], 5)]))
        async with bench.running():
            await bench.engine.until_booted()
            assert [key for _, key in bench.things.passes] == [some[1], some[3], some[0], some[2]]

    play(main)


def test_a_key_keeps_its_priority_until_it_rests() -> None:
    async def main() -> None:
        some = keys(3)
        bench = Bench({some[1]: [AGAIN, Unavailable("x"), DONE]}, concurrency=1)
        bench.engine.add(bench.things, keys=listing([(some[0], 0), (some[1], 5), (some[2], 0)]))
        async with bench.running():
            await bench.engine.until_booted()
            assert [key for _, key in bench.things.passes] == [some[1], some[1], some[0], some[2]]
            bench.engine.enqueue(some[0], timedelta(seconds=1))
            await bench.engine.until_idle()
            assert bench.engine.outlook(some[1]).priority == 5
            await bench.clock.sleep(2)
            bench.engine.enqueue(some[1], timedelta(seconds=1))
            assert bench.engine.outlook(some[1]).priority == 0

    play(main)


@BOTH
def test_boot_waits_for_every_kind_before_the_first_pass(mode: Mode) -> None:
    async def main() -> None:
        bench = Bench(concurrency=1)
        others = ScriptedReconciler(bench.clock, kind="Other")
        first, urgent = Key("Thing", "default", "a"), Key("Other", "default", "b")

        async def slow() -> list[tuple[Key, int]]:
            await bench.clock.sleep(3)
            return [(urgent, 9)]

        bench.engine.add(bench.things, keys=listing([(first, 0)]))
        bench.engine.add(others, keys=slow)
        bench.engine.enqueue(first)
        async with bench.running():
            await bench.clock.sleep(1)
            assert not bench.things.passes
            assert not bench.engine.booted
            await bench.engine.until_booted()
            assert bench.things.times(first) == others.times(urgent) == [3]

    play(main, mode, 10)


def test_a_listing_that_hangs_holds_the_boot_up_for_one_deadline() -> None:
    async def main() -> None:
        bench = Bench(deadline=timedelta(seconds=20))
        others = ScriptedReconciler(bench.clock, kind="Other")

        async def never() -> list[tuple[Key, int]]:
            await asyncio.Event().wait()
            return []

        (key,) = keys(1)
        bench.engine.add(bench.things, keys=listing([(key, 0)]))
        bench.engine.add(others, keys=never)
        async with bench.running():
            await bench.clock.sleep(60)
            assert bench.things.times(key) == [20]
            assert not bench.engine.booted

    play(main)


def test_a_listing_that_fails_is_tried_again_and_holds_nobody_up() -> None:
    async def main() -> None:
        bench = Bench()
        others, tries = ScriptedReconciler(bench.clock, kind="Other"), 0
        (key,), (other,) = keys(1), keys(1, "Other")

        async def flaky() -> list[tuple[Key, int]]:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise Unavailable("the store is away")
            return [(other, 0)]

        bench.engine.add(bench.things, keys=listing([(key, 0)]))
        bench.engine.add(others, keys=flaky, resync=timedelta(hours=1))
        async with bench.running():
            await bench.engine.until_booted()
            assert bench.things.times(key) == [0]
            assert tries == 4
            assert 5 < others.times(other)[0] < 8
            assert bench.log.events("warning") == ["listing failed"] * 3
            tries = 0
            await bench.clock.sleep(3700)  # the store is away again, and the waits begin small again
            assert [values["retry_in_s"] for _, event, values in bench.log.lines if event == "listing failed"] == (
                pytest.approx([0.875, 1.75, 3.5] * 2)
            )

    play(main)


def test_booted_needs_a_pass_of_every_listed_key() -> None:
    async def main() -> None:
        some = keys(10)
        bench = Bench({some[7]: [Takes(timedelta(seconds=5), Unavailable("x"))]})
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]))
        async with bench.running():
            await bench.clock.sleep(4)
            assert not bench.engine.booted
            await bench.engine.until_booted()
            assert bench.clock.monotonic() == 5
            assert bench.engine.snapshot().booted

    play(main)


def test_a_hung_key_does_not_hold_up_the_boot_for_ever() -> None:
    async def main() -> None:
        some = keys(5)
        bench = Bench({some[2]: [Hangs(asyncio.Event())]}, deadline=timedelta(seconds=20))
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]))
        async with bench.running(limit=SECOND):
            await bench.engine.until_booted()
            assert bench.clock.monotonic() == 20

    play(main)


def test_without_controllers_boot_is_over_at_once() -> None:
    async def main() -> None:
        bench = Bench()
        async with bench.running():
            await bench.engine.until_booted()

    play(main)


def test_resync_finds_a_lost_event() -> None:
    async def main() -> None:
        known: list[tuple[Key, int]] = []
        bench = Bench()
        bench.engine.add(bench.things, keys=listing(known), resync=timedelta(seconds=60))
        async with bench.running():
            await bench.clock.sleep(10)
            known.append((keys(1)[0], 0))  # made, and its event was lost
            await bench.clock.sleep(60)
            assert bench.things.count(keys(1)[0]) == 1

    play(main)


def test_resync_comes_every_period_give_or_take_a_tenth_and_spreads_its_keys() -> None:
    async def main() -> None:
        some = keys(100)
        bench = Bench(seed=5)
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]), resync=timedelta(seconds=60))
        async with bench.running():
            await bench.clock.sleep(3600)
        for key in some:
            times = bench.things.times(key)
            gaps = [after - before for before, after in pairwise(times[1:])]
            assert len(times) >= 54
            assert all(53.9 <= gap <= 66.1 for gap in gaps)
            assert len({round(gap, 3) for gap in gaps}) > 20
        second = sorted(bench.things.times(key)[1] for key in some)
        assert second[-1] - second[0] == pytest.approx(6 * 0.99)
        assert bench.things.most_active == 1 or len([at for at, _ in bench.things.passes if at == 0]) == 100

    play(main)


def test_resync_never_delays_events() -> None:
    async def main() -> None:
        some = keys(200)
        bench = Bench(lambda key, number: Takes(SECOND), concurrency=1)
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]), resync=timedelta(seconds=300))
        async with bench.running():
            await bench.clock.sleep(340)  # the resync's keys have filled the queue
            assert len(bench.engine.snapshot().queued) > 100
            fresh = Key("Thing", "default", "fresh")
            bench.engine.enqueue(fresh)
            await bench.clock.sleep(3)
            assert bench.things.count(fresh) == 1

    play(main)


def test_idle_costs_nothing_but_the_resync() -> None:
    async def main() -> None:
        some = keys(100)
        bench = Bench(concurrency=8)
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        async with bench.running():
            await bench.engine.until_booted()
            await bench.clock.sleep(1)
            before = loop.steps
            await bench.clock.sleep(10 * 86400)
            assert loop.steps - before <= 3  # our own sleep

    play(main)


def test_waiting_keys_cost_one_wake_each() -> None:
    async def main() -> None:
        some = keys(10)
        bench = Bench({key: [Result(timedelta(seconds=100 + i)), DONE] for i, key in enumerate(some)})
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        async with bench.running():
            await bench.engine.until_booted()
            before = loop.steps
            await bench.clock.sleep(3600)
            assert len(bench.things.passes) == 20
            assert loop.steps - before <= 10 * 12

    play(main)


# Bulkhead and fairness.


@BOTH
def test_one_hung_key_of_a_hundred_delays_nobody(mode: Mode) -> None:
    async def main() -> None:
        some, release = keys(100), asyncio.Event()
        bench = Bench(
            lambda key, number: Hangs(release) if key == some[3] and not number else Takes(SECOND / 10),
            concurrency=8,
            deadline=timedelta(seconds=30),
        )
        bench.engine.add(bench.things)
        async with bench.running():
            for key in some:
                bench.engine.enqueue(key)
            await bench.clock.sleep(2)
            assert sum(1 for key in some if bench.things.count(key) == 1) == 100
            assert bench.engine.outlook(some[3]).state == "running"
            await bench.clock.sleep(30)
            assert bench.engine.outlook(some[3]).state == "overdue"
            bench.engine.enqueue(some[3])  # the key stays busy: no second pass beside the hung one
            await bench.clock.sleep(300)
            assert bench.things.count(some[3]) == 1
            release.set()
            await bench.clock.sleep(2)
            assert bench.things.count(some[3]) == 2
            assert bench.engine.outlook(some[3]).state == "idle"
            assert bench.meter.outcomes["Thing", "overdue"] == 1

    play(main, mode, 10)


@BOTH
def test_as_many_hung_keys_as_slots_stall_for_one_deadline_only(mode: Mode) -> None:
    async def main() -> None:
        some, never = keys(100), asyncio.Event()
        hung = set(some[:8])
        bench = Bench(lambda key, number: Hangs(never) if key in hung else DONE, concurrency=8, deadline=timedelta(seconds=30))
        bench.engine.add(bench.things)
        async with bench.running():
            for key in some:
                bench.engine.enqueue(key, priority=key in hung)
            await bench.clock.sleep(29)
            assert len(bench.things.passes) == 8
            await bench.clock.sleep(2)
            assert len(bench.things.passes) == 100
            assert {look.key for look in bench.engine.snapshot().overdue} == hung
            # And afterwards nothing stalls any more.
            start = bench.clock.monotonic()
            for key in some:
                bench.engine.enqueue(key)
            await bench.clock.sleep(1)
            assert {key for at, key in bench.things.passes if at >= start} == set(some) - hung

    play(main, mode, 10)


def test_a_hung_pass_that_returns_is_looked_at_again_even_without_an_event() -> None:
    async def main() -> None:
        (key,), release = keys(1), asyncio.Event()
        bench = Bench(lambda key, number: DONE if number else Hangs(release), deadline=timedelta(seconds=10))
        bench.engine.add(bench.things)
        async with bench.running():
            bench.engine.enqueue(key)
            await bench.clock.sleep(100)
            release.set()
            await bench.clock.sleep(1)
            assert bench.things.count(key) == 2
            assert bench.engine.outlook(key).failures == 0

    play(main)


def test_passes_that_are_always_too_slow_back_off() -> None:
    async def main() -> None:
        (key,) = keys(1)
        bench = Bench({key: [Takes(timedelta(seconds=11))]}, deadline=timedelta(seconds=10))
        bench.engine.add(bench.things)
        async with bench.running():
            bench.engine.enqueue(key)
            await bench.clock.sleep(3600)
            assert 15 < bench.things.count(key) < 50
            assert "the pass took 11 s" in str(bench.log.lines)

    play(main)


def test_hung_passes_are_bounded_and_the_engine_says_so() -> None:
    async def main() -> None:
        some, release = keys(30), asyncio.Event()
        bench = Bench(
            lambda key, number: DONE if number else Hangs(release),
            concurrency=4,
            deadline=timedelta(seconds=10),
            settings=Settings(overdue_limit=6),
        )
        bench.engine.add(bench.things)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        async with bench.running():
            for key in some:
                bench.engine.enqueue(key)
            await bench.clock.sleep(100)
            shot = bench.engine.snapshot()
            assert (len(shot.overdue), len(shot.running), len(shot.queued)) == (6, 4, 20)
            assert "too many passes hang; their slots are not given to others" in bench.log.events("error")
            before = loop.steps
            await bench.clock.sleep(1000)
            assert loop.steps - before <= 3  # stuck is no reason to spin
            release.set()
            await bench.clock.sleep(60)
            assert {key for _, key in bench.things.passes} == set(some)
            assert not bench.engine.snapshot().overdue

    play(main)


def test_a_kind_may_have_its_own_deadline() -> None:
    async def main() -> None:
        (key,) = keys(1)
        bench = Bench({key: [Takes(timedelta(seconds=50))]}, deadline=timedelta(seconds=10))
        bench.engine.add(bench.things, deadline=timedelta(seconds=100))
        async with bench.running():
            bench.engine.enqueue(key)
            await bench.clock.sleep(60)
            assert bench.meter.outcomes["Thing", "overdue"] == 0

    play(main)


@BOTH
def test_a_poison_key_starves_nobody(mode: Mode) -> None:
    """L3: every dirty key is served within twice the resync although one always fails and always has events."""

    async def main() -> None:
        some = keys(50)
        bench = Bench(
            lambda key, number: Takes(SECOND / 20, Unavailable("poison") if key == some[0] else DONE), concurrency=2, seed=1
        )
        bench.engine.add(bench.things, keys=listing([(key, 0) for key in some]), resync=timedelta(seconds=10))
        bench.engine.on_error(lambda key, error: bench.engine.enqueue(key, priority=100))
        async with bench.running():
            await bench.clock.sleep(120)
        for key in some[1:]:
            times = [0.0, *bench.things.times(key), 120.0]
            assert max(after - before for before, after in pairwise(times)) <= 20
        share = bench.things.count(some[0]) * 0.05 / (120 * 2)
        assert share <= 0.05

    play(main, mode, 3)


def test_a_key_that_always_wants_another_pass_starves_nobody() -> None:
    async def main() -> None:
        some = keys(20)
        bench = Bench({some[0]: [Takes(SECOND / 100, AGAIN)]}, concurrency=1)
        bench.engine.add(bench.things)
        async with bench.running():
            bench.engine.enqueue(some[0], priority=100)
            for key in some[1:]:
                bench.engine.enqueue(key)
            await bench.clock.sleep(10)
            assert all(bench.things.count(key) == 1 for key in some[1:])

    play(main)


def test_concurrency_is_a_bound() -> None:
    async def main() -> None:
        bench = Bench(lambda key, number: Takes(SECOND), concurrency=5)
        bench.engine.add(bench.things)
        async with bench.running():
            for key in keys(50):
                bench.engine.enqueue(key)
            await bench.clock.sleep(10.5)
            assert len(bench.things.passes) == 50
            assert bench.things.most_active == 5
            assert sorted(bench.meter.waits)[-1] == 9

    play(main)


def test_ten_thousand_keys() -> None:
    async def main() -> None:
        bench = Bench()
        bench.engine.add(bench.things, keys=listing([(key, i % 7) for i, key in enumerate(keys(10_000))]))
        bench.things.count = lambda key: 0  # type: ignore[method-assign]
        async with bench.running():
            await bench.engine.until_booted()
            assert len({key for _, key in bench.things.passes}) == len(bench.things.passes) == 10_000

    assert simulate(main).steps < 100_000


# Pause and the end.


def test_pause_holds_passes_and_keeps_events() -> None:
    async def main() -> None:
        (key,) = keys(1)
        bench = Bench()
        bench.engine.add(bench.things)
        async with bench.running():
            bench.engine.pause()
            bench.engine.enqueue(key)
            await bench.clock.sleep(60)
            assert not bench.things.passes
            assert bench.engine.snapshot().paused
            assert [look.key for look in bench.engine.snapshot().queued] == [key]
            bench.engine.resume()
            await bench.engine.until_idle()
            assert bench.things.times(key) == [60]

    play(main)


@BOTH
def test_stop_lets_passes_finish_and_starts_no_more(mode: Mode) -> None:
    async def main() -> None:
        some = keys(3)
        bench = Bench(lambda key, number: Takes(timedelta(seconds=4)), concurrency=1)
        bench.engine.add(bench.things)
        async with bench.running():
            for key in some:
                bench.engine.enqueue(key)
            await bench.clock.sleep(1)
        assert bench.clock.monotonic() == 4
        assert [key for _, key in bench.things.passes] == [some[0]]
        assert bench.meter.outcomes["Thing", "done"] == 1

    play(main, mode, 10)


@BOTH
def test_stop_cancels_what_does_not_finish(mode: Mode) -> None:
    async def main() -> None:
        (key,) = keys(1)
        bench = Bench({key: [Hangs(asyncio.Event())]})
        bench.engine.add(bench.things)
        async with bench.running(limit=timedelta(seconds=5)):
            bench.engine.enqueue(key)
            await bench.clock.sleep(1)
        assert bench.clock.monotonic() == 6
        assert bench.meter.outcomes["Thing", "stopped"] == 1
        assert not bench.log.events("warning")

    play(main, mode, 10)


def test_stop_leaves_behind_what_swallows_its_cancellation() -> None:
    async def main() -> None:
        class Stubborn:
            kind = "Thing"

            async def reconcile(self, key: Key) -> Result:
                while True:
                    with suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()

        bench = Bench()
        bench.engine.add(Stubborn())
        async with bench.running(limit=SECOND):
            bench.engine.enqueue(keys(1)[0])
            await bench.clock.sleep(1)
        assert bench.clock.monotonic() == 3

    play(main)


def test_cancelling_run_cancels_the_passes() -> None:
    async def main() -> None:
        (key,) = keys(1)
        bench = Bench({key: [Hangs(asyncio.Event())]})

        async def never() -> list[tuple[Key, int]]:
            await asyncio.Event().wait()
            return []

        bench.engine.add(bench.things)
        bench.engine.add(ScriptedReconciler(bench.clock, kind="Other"), keys=never)
        bench.engine.enqueue(key)
        task = asyncio.get_running_loop().create_task(bench.engine.run())
        await bench.clock.sleep(61)
        assert bench.things.active[key]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not bench.things.active[key]
        await bench.engine.stop()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        await bench.clock.sleep(1)
        assert len(loop.waiting()) == 1

    play(main)


def test_stop_before_run_and_run_twice() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.engine.stop()
        await bench.engine.run()
        with pytest.raises(RuntimeError, match="once"):
            await bench.engine.run()

    play(main)


def test_the_snapshot_tells_all() -> None:
    async def main() -> None:
        some = keys(6)
        script: dict[Key, list[Step]] = {
            some[0]: [Hangs(asyncio.Event())],
            some[1]: [Takes(timedelta(seconds=100))],
            some[2]: [Result(timedelta(seconds=500))],
            some[3]: [Unavailable("away")],
        }
        bench = Bench(script, concurrency=1, deadline=timedelta(seconds=10))
        bench.engine.add(bench.things)
        async with bench.running(limit=SECOND):
            for key in (some[2], some[0], some[3]):
                bench.engine.enqueue(key)
                await bench.clock.sleep(10.5)
            bench.engine.enqueue(some[1])
            await bench.clock.sleep(0.25)
            bench.engine.enqueue(some[4], priority=1)
            bench.engine.enqueue(some[5], priority=2)
            shot = bench.engine.snapshot()
            assert [look.key for look in shot.queued] == [some[5], some[4], some[3]][: len(shot.queued)]
            assert [look.key for look in shot.running] == [some[1]]
            assert [look.key for look in shot.overdue] == [some[0]]
            assert some[2] in [look.key for look in shot.waiting]
            assert shot.concurrency == 1
            assert bench.engine.outlook(some[3]).error == "away"

    play(main)
