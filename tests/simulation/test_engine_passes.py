"""The engine with a scripted reconciler in virtual time: what each outcome leads to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from controllers.engine.backoff import Backoff
from controllers.engine.engine import Engine
from controllers.engine.result import AGAIN, DONE, Result
from controllers.engine.settings import Settings
from controllers.engine.worker import PassId, current_pass
from setpoint.testing.clock import FixedRandom, SimClock
from setpoint.testing.scripted import CountingMeter, Hangs, RememberingLog, ScriptedReconciler, Step, Takes
from setpoint.testing.simloop import Mode, simulate
from state.errors import Busy, Conflict, Denied, InDoubt, Invalid, Unavailable
from state.objects import Key

T = TypeVar("T")
Script = dict[Key, Sequence[Step]]
A, B = Key("Thing", "default", "a"), Key("Thing", "default", "b")
BOTH = pytest.mark.parametrize("mode", [Mode.LEGAL, Mode.HOSTILE], ids=lambda mode: mode.value)
SETTINGS = Settings(backoff=Backoff(first=timedelta(seconds=1), cap=timedelta(seconds=60)))


class Bench:
    """An engine over one scripted reconciler, with everything it reports to."""

    def __init__(self, script: Any = None, **options: Any) -> None:
        self.clock = SimClock()
        self.log = RememberingLog()
        self.meter = CountingMeter()
        self.things = ScriptedReconciler(self.clock, script)
        options.setdefault("settings", SETTINGS)
        self.engine = Engine(clock=self.clock, random=FixedRandom(0), log=self.log, meter=self.meter, **options)
        self.engine.add(self.things)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        task = asyncio.get_running_loop().create_task(self.engine.run(), name="engine")
        yield self
        await self.engine.stop()
        await task
        assert not self.things.overlaps


def run(
    body: Callable[[Bench], Awaitable[T]],
    script: dict[Key, Sequence[Step]] | None = None,
    mode: Mode = Mode.LEGAL,
    **options: Any,
) -> T:
    async def main() -> T:
        async with Bench(script, **options).running() as bench:
            return await body(bench)

    return simulate(main, seed=3, mode=mode).value


@BOTH
def test_many_events_before_a_pass_are_one_pass(mode: Mode) -> None:
    async def body(bench: Bench) -> None:
        for _ in range(50):
            bench.engine.enqueue(A)
        await bench.engine.until_idle()
        assert bench.things.count(A) == 1

    run(body, mode=mode)


@BOTH
def test_events_during_a_pass_are_one_more_pass(mode: Mode) -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(1)
        for _ in range(50):
            bench.engine.enqueue(A)
            await bench.clock.sleep(0.01)
        await bench.clock.sleep(60)
        assert bench.things.times(A) == [0, 5]

    run(body, {A: [Takes(timedelta(seconds=5))]}, mode=mode)


@BOTH
def test_one_pass_per_key_at_a_time_others_beside_it(mode: Mode) -> None:
    async def body(bench: Bench) -> None:
        for _ in range(20):
            bench.engine.enqueue(A)
            bench.engine.enqueue(B)
            await bench.clock.sleep(0.5)
        assert bench.things.most_active == 2
        assert not bench.things.overlaps

    run(body, {A: [Takes(timedelta(seconds=1))], B: [Takes(timedelta(seconds=3))]}, mode=mode)


def test_done_rests() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(86400)
        assert bench.things.count(A) == 1
        assert bench.engine.outlook(A).state == "idle"

    run(body)


def test_after_is_a_timer() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(1)
        look = bench.engine.outlook(A)
        assert (look.state, look.next) == ("waiting", timedelta(seconds=29))
        await bench.clock.sleep(100)
        assert bench.things.times(A) == [0, 30]

    run(body, {A: [Result(timedelta(seconds=30)), DONE]})


def test_an_event_comes_before_the_timer_and_replaces_it() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(10)
        bench.engine.enqueue(A)
        await bench.clock.sleep(100)
        assert bench.things.times(A) == [0, 10]

    run(body, {A: [Result(timedelta(seconds=30)), DONE]})


def test_an_event_can_be_delayed() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A, timedelta(seconds=5))
        bench.engine.enqueue(A, timedelta(seconds=9))
        await bench.clock.sleep(100)
        assert bench.things.times(A) == [5]

    run(body)


def test_again_is_at_once_and_behind_the_others() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        bench.engine.enqueue(B)
        await bench.engine.until_idle()
        assert [key for _, key in bench.things.passes] == [A, B, A]
        assert bench.clock.monotonic() == 0

    run(body, {A: [AGAIN, DONE]}, concurrency=1)


def test_endless_again_is_slowed_down() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(600)
        assert 21 <= bench.things.count(A) < 40
        assert bench.log.events("warning") == ["pass asks for another one again and again; slowing it down"]

    run(body, {A: [AGAIN]})


def test_again_in_moderation_is_never_slowed_down() -> None:
    async def body(bench: Bench) -> None:
        for _ in range(5):
            bench.engine.enqueue(A)
            await bench.engine.until_idle()
        assert bench.things.count(A) == 75
        assert bench.clock.monotonic() == 0

    run(body, {A: ([AGAIN] * 14 + [DONE]) * 5})


@pytest.mark.parametrize(
    "error", [Unavailable("x"), Conflict("x"), InDoubt("x"), RuntimeError("x"), asyncio.CancelledError()], ids=repr
)
def test_errors_back_off_and_grow(error: BaseException) -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(30)
        assert bench.things.times(A) == [0, 1, 3, 7, 15]
        look = bench.engine.outlook(A)
        assert (look.state, look.next, look.failures) == ("waiting", timedelta(seconds=1), 5)
        assert look.error

    run(body, {A: [error]})  # type: ignore[list-item]


def test_back_off_is_capped() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(3600)
        times = bench.things.times(A)
        gaps = [after - before for before, after in pairwise(times)]
        assert gaps[:7] == [1, 2, 4, 8, 16, 32, 60]
        assert set(gaps[7:]) == {60}

    run(body, {A: [Unavailable("away")]})


def test_success_resets_the_back_off() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(20)
        assert bench.things.times(A) == [0, 1, 3, 7]
        assert bench.engine.outlook(A).failures == 0
        bench.engine.enqueue(A)
        await bench.clock.sleep(20)
        assert bench.things.times(A) == [0, 1, 3, 7, 20, 21]

    run(body, {A: [Unavailable("x")] * 3 + [DONE] + [Unavailable("x"), DONE]})


def test_a_result_of_after_resets_the_back_off_too() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(15)
        assert bench.things.times(A) == [0, 1, 3, 13, 14]

    run(body, {A: [Unavailable("x")] * 2 + [Result(timedelta(seconds=10)), Unavailable("x"), DONE]})


@pytest.mark.parametrize("error", [Invalid("bad"), Denied("no")], ids=repr)
def test_refused_rests_until_an_event(error: Exception) -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(3600)
        assert bench.things.count(A) == 1
        bench.engine.enqueue(A)
        await bench.clock.sleep(3600)
        assert bench.things.times(A) == [0, 3600]
        assert bench.log.events("warning") == ["pass was refused; waiting for a change"]

    run(body, {A: [error, DONE]})


def test_busy_is_asked_again_no_sooner_than_it_said() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(60)
        assert bench.things.times(A) == [0, 17]

    run(body, {A: [Busy("later", retry_after_s=17), DONE]})


def test_an_event_cuts_the_back_off_short_down_to_the_floor() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(8)  # failed at 0, 1, 3 and 7; the next retry would be at 15
        bench.engine.enqueue(A)
        await bench.clock.sleep(1)
        assert bench.things.times(A)[4:] == [8]

    run(body, {A: [Unavailable("x")] * 4 + [DONE]})


def test_a_failing_pass_that_causes_events_does_not_spin() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.on_error(lambda key, error: bench.engine.enqueue(key))
        bench.engine.enqueue(A)
        await bench.clock.sleep(60)
        assert bench.things.count(A) <= 122  # one per 0.5 s at most

    run(body, {A: [Unavailable("x")]})


def test_a_failing_pass_that_caused_events_while_running_does_not_spin() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        for _ in range(3000):
            bench.engine.enqueue(A)
            await bench.clock.sleep(0.02)
        assert bench.things.count(A) <= 122

    run(body, {A: [Takes(timedelta(seconds=0.01), Unavailable("x"))]})


def test_errors_are_told_once_each_with_their_key() -> None:
    async def body(bench: Bench) -> None:
        told: list[tuple[Key, str]] = []
        bench.engine.on_error(lambda key, error: told.append((key, str(error))))
        bench.engine.enqueue(A)
        await bench.clock.sleep(10)
        assert told == [(A, "one"), (A, "two")]
        level, event, values = bench.log.lines[1]
        assert (level, event) == ("warning", "pass failed; backing off")
        assert values == {
            "controller": "Thing",
            "key": "Thing/default/a",
            "reconcile_id": 1,
            "error": "one",
            "error_type": "Unavailable",
            "failures": 1,
            "retry_in_s": 1.0,
        }

    run(body, {A: [Unavailable("one"), InDoubt("two"), DONE]})


def test_the_meter_sees_every_outcome() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(100)
        assert dict(bench.meter.outcomes) == {
            ("Thing", "again"): 1,
            ("Thing", "later"): 1,
            ("Thing", "failed"): 1,
            ("Thing", "in-doubt"): 1,
            ("Thing", "refused"): 1,
        }

    run(body, {A: [AGAIN, Result(timedelta(seconds=1)), Unavailable("x"), InDoubt("x"), Invalid("x")]})


def test_a_pass_knows_who_it_is() -> None:
    async def main() -> list[PassId | None]:
        seen: list[PassId | None] = []

        class Curious:
            kind = "Thing"

            async def reconcile(self, key: Key) -> Result:
                seen.append(current_pass.get())
                return DONE

        engine = Engine(clock=SimClock(), random=FixedRandom(), log=RememberingLog())
        engine.add(Curious())
        task = asyncio.get_running_loop().create_task(engine.run())
        engine.enqueue(A)
        engine.enqueue(B)
        await engine.until_idle()
        seen.append(current_pass.get())
        await engine.stop()
        await task
        return seen

    assert simulate(main).value == [PassId(A, 1), PassId(B, 2), None]


def test_an_unknown_kind_is_an_error_of_the_caller() -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(KeyError, match="Stranger"):
            bench.engine.enqueue(Key("Stranger", "", "x"))

    run(body)


def test_a_second_reconciler_of_a_kind_is_refused() -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(ValueError, match="Thing"):
            bench.engine.add(ScriptedReconciler(bench.clock))

    run(body)


def test_hung_until_set() -> None:
    async def body(bench: Bench) -> None:
        bench.engine.enqueue(A)
        await bench.clock.sleep(3)
        look = bench.engine.outlook(A)
        assert (look.state, look.elapsed) == ("running", timedelta(seconds=3))

    run(body, {A: [Hangs(asyncio.Event())]})
