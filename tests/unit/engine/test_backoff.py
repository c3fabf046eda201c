from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.engine.backoff import Backoff, Failures
from setpoint.testing.clock import FixedRandom, SeededRandom

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("failures", "expected_s"),
    [(0, 0), (1, 1), (2, 2), (3, 4), (4, 8), (7, 60), (10_000, 60)],
)
def test_it_doubles_up_to_the_cap(failures: int, expected_s: float) -> None:
    backoff = Backoff(first=SECOND, cap=timedelta(seconds=60))
    assert backoff.base(failures) == timedelta(seconds=expected_s)
    assert backoff.delay(failures, FixedRandom(0)) == timedelta(seconds=expected_s)


@given(failures=st.integers(1, 1000), seed=st.integers(0, 1000), jitter=st.floats(0, 1))
def test_jitter_takes_off_at_most_its_share(failures: int, seed: int, jitter: float) -> None:
    backoff = Backoff(jitter=jitter)
    base = backoff.base(failures)
    slack = timedelta(microseconds=1)
    assert base * (1 - jitter) - slack <= backoff.delay(failures, SeededRandom(seed)) <= base + slack


@given(failures=st.integers(1, 500))
def test_the_base_never_falls(failures: int) -> None:
    backoff = Backoff()
    assert backoff.base(failures) <= backoff.base(failures + 1) <= backoff.cap


def failures(**given: object) -> Failures[str]:
    return Failures(Backoff(first=SECOND, cap=timedelta(seconds=60)), FixedRandom(0), floor=timedelta(seconds=0.5))


def test_each_key_counts_for_itself() -> None:
    some = failures()
    assert [some.failed("a", "x", now=0).retry for _ in range(3)] == [1, 2, 4]
    assert some.failed("b", "x", now=0).retry == 1
    assert len(some) == 2


def test_success_starts_anew() -> None:
    some = failures()
    some.failed("a", "x", now=0)
    some.failed("a", "x", now=0)
    some.forget("a")
    assert some.get("a") is None
    assert some.failed("a", "x", now=10).retry == 11
    some.forget("unknown")


def test_the_floor_is_never_later_than_the_retry() -> None:
    some = Failures[str](Backoff(first=timedelta(seconds=0.1)), FixedRandom(0), floor=timedelta(seconds=0.5))
    assert some.floor("a") == float("-inf")
    first = some.failed("a", "x", now=0)
    assert (first.floor, first.retry) == (0.1, 0.1)
    for _ in range(5):
        last = some.failed("a", "y", now=10)
    assert (last.failures, last.message, last.floor, last.retry) == (6, "y", 10.5, 13.2)


def test_the_other_side_may_ask_for_longer() -> None:
    assert failures().failed("a", "busy", now=0, at_least_s=30).retry == 30
