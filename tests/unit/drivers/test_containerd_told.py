"""What is remembered of the event stream, and when it is true."""

from __future__ import annotations

from controllers.container.ports import Exit
from setpoint.drivers.containerd.told import Told

SEVEN = Exit(7, "2026-01-01T00:00:00.000000000Z", true=False)
MADE_UP = Exit(137, "2026-01-01T00:00:01.000000000Z", true=False)


def test_nothing_heard() -> None:
    assert Told().exit("a") is None
    assert not Told().oom("a")


def test_one_event_is_not_true() -> None:
    told = Told()
    assert told.exited("a", 10, SEVEN) == SEVEN
    assert told.exit("a") == SEVEN


def test_the_second_event_of_a_pid_is_made_up_and_proves_the_first() -> None:
    told = Told()
    told.exited("a", 10, SEVEN)
    shown = told.exited("a", 10, MADE_UP)
    assert shown == told.exit("a")
    assert shown is not None
    assert (shown.code, shown.true, shown.at) == (7, True, SEVEN.at)


def test_another_pid_is_another_task() -> None:
    told = Told()
    told.exited("a", 10, SEVEN)
    assert told.exited("a", 11, MADE_UP) == MADE_UP


def test_ids_are_apart() -> None:
    told = Told()
    told.exited("a", 10, SEVEN)
    assert told.exit("b") is None


def test_a_late_event_of_what_we_reaped_tells_nothing() -> None:
    told = Told()
    told.reaping("a", 10, Exit(0, SEVEN.at))
    told.reaped("a")
    assert told.exited("a", 10, SEVEN) is None
    assert told.exit("a") is None


def test_an_exit_survives_the_lost_reply_of_its_reap() -> None:
    told = Told()
    true = Exit(7, SEVEN.at)
    told.reaping("a", 10, true)
    assert told.exit("a") == true


def test_a_launch_ends_it() -> None:
    told = Told()
    told.killed_for_memory("a")
    told.exited("a", 10, SEVEN)
    told.launched("a")
    assert told.exit("a") is None
    assert not told.oom("a")


def test_memory_is_merged_into_the_exit() -> None:
    told = Told()
    told.killed_for_memory("a")
    exit = told.exited("a", 10, MADE_UP)
    assert exit is not None
    assert exit.oom
    assert told.oom("a")


def test_forget_drops_everything() -> None:
    told = Told()
    told.reaping("a", 10, None)
    told.forget("a")
    assert told.exited("a", 10, SEVEN) == SEVEN
