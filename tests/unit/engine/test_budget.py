from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.engine.budget import Bucket, Budget
from controllers.engine.limits import limit_by_files
from setpoint.testing.clock import ManualClock

ZERO = timedelta(0)


def test_a_burst_then_the_rate() -> None:
    bucket, granted = Bucket(rate=4, burst=3), []
    for _ in range(6):
        at, bucket = bucket.reserve(100.0)
        granted.append(at - 100.0)
    assert granted == [0, 0, 0, 0.25, 0.5, 0.75]


def test_it_fills_up_again_but_never_over() -> None:
    bucket = Bucket(rate=4, burst=2)
    for _ in range(2):
        _, bucket = bucket.reserve(0.0)
    granted = []
    for _ in range(3):
        at, bucket = bucket.reserve(1000.0)
        granted.append(at - 1000.0)
    assert granted == [0, 0, 0.25]


@given(st.lists(st.floats(0, 2), max_size=60), st.integers(1, 5))
def test_never_more_than_burst_plus_rate(gaps: list[float], burst: int) -> None:
    bucket, now, granted = Bucket(rate=4, burst=burst), 0.0, []
    for gap in gaps:
        now += gap
        at, bucket = bucket.reserve(now)
        granted.append(at)
    for i, first in enumerate(granted):
        for j, last in enumerate(granted[i:], i):
            assert j - i + 1 <= burst + 4 * (last - first) + 1e-6


def test_a_waiting_holder_keeps_its_turn() -> None:
    clock = ManualClock()
    budget = Budget(clock, rate=1, burst=1)
    assert budget.take("a") == ZERO
    waits = [budget.take(holder).total_seconds() for holder in "bcd"]
    assert [round(wait, 3) for wait in waits] == [1, 2, 3]
    clock.advance(1.5)
    assert budget.take("b") == ZERO
    assert round(budget.take("c").total_seconds(), 3) == 0.5
    assert budget.waiting() == 2


def test_each_holder_asks_twice_at_most() -> None:
    clock = ManualClock(monotonic=0)
    budget = Budget(clock, rate=4, burst=8)
    due = {f"h{i}": 0.0 for i in range(100)}
    asked, granted = 0, []
    while due:
        holder = min(due, key=lambda name: due[name])
        clock.advance(max(0.0, due[holder] - clock.monotonic()))
        asked += 1
        wait = budget.take(holder)
        if wait == ZERO:
            granted.append(clock.monotonic())
            del due[holder]
        else:
            due[holder] = clock.monotonic() + wait.total_seconds()
    assert asked <= 2 * 100
    assert granted[-1] == pytest.approx((100 - 8) / 4, abs=0.01)


def test_turns_that_nobody_takes_are_dropped() -> None:
    clock = ManualClock()
    budget = Budget(clock, rate=1, burst=1)
    for holder in "abc":
        budget.take(holder)
    budget.forget("b")
    clock.advance(3600)
    budget.take("d")
    assert budget.waiting() == 0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_senseless_budgets_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="burst"):
        Budget(ManualClock(), rate=rate, burst=burst)


@pytest.mark.parametrize(
    ("wanted", "nofile", "expected"),
    [(8, 1024, 8), (8, 1_048_576, 8), (100, 1024, 48), (8, 300, 2), (8, 256, 1), (8, 10, 1), (8, -1, 8)],
)
def test_limit_by_files(wanted: int, nofile: int, expected: int) -> None:
    assert limit_by_files(wanted, nofile) == expected


def test_nothing_wanted_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        limit_by_files(0, 1024)


async def test_the_manual_clock_runs_from_sleeper_to_sleeper() -> None:
    clock, woken = ManualClock(), list[float]()

    async def tick() -> None:
        for _ in range(3):
            await clock.sleep(10)
            woken.append(clock.monotonic())

    task = asyncio.create_task(tick())
    start, wall = clock.monotonic(), clock.now()
    await clock.run(25)
    assert woken == [start + 10, start + 20]
    assert (clock.now() - wall).total_seconds() == 25
    assert clock.next_due() == start + 30
    await clock.run(5)
    await task
    assert clock.next_due() is None


async def test_the_manual_clock_does_not_count_cancelled_sleepers() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(5))
    await clock.settle()
    task.cancel()
    await clock.settle()
    assert clock.next_due() is None
    clock.reboot("boot-2")
    assert (clock.boot_id, clock.monotonic()) == ("boot-2", 5.0)
