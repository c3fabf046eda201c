"""What an exit means: the numbers of objects.md, policies, budgets, and clocks that jump."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controllers.container.memory import HALTED, ExitRecord, Launched, Memory, Revision, Stopping
from controllers.container.model import Desired, RestartRules
from controllers.container.ports import Exit
from controllers.container.restarting import back_off, record_exit, record_start_failure, runs_again, seconds_between
from controllers.engine.instants import Instant
from state.objects import Key

T0 = datetime(2030, 1, 1, tzinfo=UTC)
NOW = Instant("boot", 1000.0)
WANT = Desired(Key("Container", "default", "web"), "u", 1, {}, "a:1", "h", "l")
REV = Revision(1, "h", 1, "a:1", "sha256:1", "l")


def at(seconds: float = 0.0) -> str:
    return (T0 + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def running(ago: float = 60.0, boot: str = "boot", **more: object) -> Memory:
    launched = Launched(1, 1, at(-ago), Instant(boot, NOW.seconds - ago))
    return replace(Memory("u", current=REV, launched=launched, launches=1), **more)  # type: ignore[arg-type]


def rules(policy: str = "Always", **more: object) -> Desired:
    return replace(WANT, restart=RestartRules(policy=policy, **more))  # type: ignore[arg-type]


def ended(want: Desired, mem: Memory, code: int = 1, finished: float = 0.0, **exit: object) -> Memory:
    return record_exit(want, mem, Exit(code, at(finished), **exit), NOW, at())  # type: ignore[arg-type]


def test_the_sequence_of_quick_exits() -> None:
    delays, failures, last = [], 0, 0.0
    for _ in range(13):
        last, failures = back_off(RestartRules(), failures, last, 0.0)
        delays.append(round(last, 3))
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60, 60]


@pytest.mark.parametrize(
    ("ran", "last", "expected"),
    [
        pytest.param(9.9, 0.0, (0.8, 4), id="just too short"),
        pytest.param(10.0, 0.0, (0.0, 0), id="resetAfter"),
        pytest.param(10.0, 25.6, (0.8, 4), id="shorter than the last delay"),
        pytest.param(25.6, 25.6, (0.0, 0), id="as long as the last delay"),
        pytest.param(1e9, 60.0, (0.0, 0), id="long"),
    ],
)
def test_a_long_run_starts_the_sequence_anew_and_restarts_at_once(ran: float, last: float, expected: tuple[float, int]) -> None:
    assert back_off(RestartRules(), 3, last, ran) == expected


@pytest.mark.parametrize(
    ("change", "failures", "delay"),
    [
        pytest.param({"initial_s": 1.0, "factor": 3.0}, 2, 9.0, id="own numbers"),
        pytest.param({"factor": 1.0}, 50, 0.1, id="constant"),
        pytest.param({"initial_s": 0.0}, 10, 0.0, id="no wait"),
        pytest.param({"initial_s": 90.0}, 0, 60.0, id="never over the cap"),
        pytest.param({"factor": 1e300}, 64, 60.0, id="more than a float holds"),
        pytest.param({}, 10**9, 60.0, id="a thousand million exits"),
    ],
)
def test_delays(change: dict[str, float], failures: int, delay: float) -> None:
    assert back_off(RestartRules(**change), failures, 0.0, 0.0)[0] == pytest.approx(delay)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "retries", "code", "restarts", "again"),
    [
        ("Always", None, 0, 10**6, True),
        ("Always", None, None, 0, True),
        ("Always", 3, 1, 2, True),
        ("Always", 3, 1, 3, False),
        ("OnFailure", None, 0, 0, False),
        ("OnFailure", None, 1, 10**6, True),
        ("OnFailure", None, None, 0, True),
        ("OnFailure", 2, 1, 1, True),
        ("OnFailure", 2, 1, 2, False),
        ("OnFailure", 0, 1, 0, False),
        ("Never", None, 0, 0, False),
        ("Never", None, 1, 0, False),
        ("Never", None, None, 0, False),
    ],
)
def test_policies(policy: str, retries: int | None, code: int | None, restarts: int, again: bool) -> None:
    record = ExitRecord(1, 1, at(), at(), "Unknown" if code is None else "Error", code=code)
    assert runs_again(RestartRules(policy=policy, max_retries=retries), record, restarts) is again  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exit", "expected"),
    [
        pytest.param(Exit(0, at()), ("Completed", 0, None, None), id="well"),
        pytest.param(Exit(3, at()), ("Error", 3, None, None), id="error"),
        pytest.param(Exit(143, at()), ("Error", 143, 15, None), id="signal"),
        pytest.param(Exit(137, at(), oom=True), ("OOMKilled", 137, 9, None), id="memory"),
        pytest.param(Exit(128, at()), ("Error", 128, None, None), id="no signal 0"),
        pytest.param(Exit(192, at()), ("Error", 192, 64, None), id="last signal"),
        pytest.param(Exit(255, at()), ("Error", 255, None, None), id="a code, no signal"),
        pytest.param(Exit(137, at(), true=False), ("Unknown", None, None, 137), id="made up"),
        pytest.param(Exit(0, at(), true=False), ("Unknown", None, None, 0), id="made up, well"),
        pytest.param(None, ("Unknown", None, None, None), id="vanished"),
    ],
)
def test_records(exit: Exit | None, expected: tuple[str, int | None, int | None, int | None]) -> None:
    last = record_exit(WANT, running(), exit, NOW, at()).last_exit
    assert last is not None
    assert (last.reason, last.code, last.signal, last.reported) == expected
    assert (last.requested, last.message.startswith("ShimLost")) == (False, last.code is None)


def test_a_start_that_failed_is_an_exit_with_its_code() -> None:
    mem = record_start_failure(WANT, running(), 127, "not found", NOW, at())
    assert mem.last_exit is not None
    assert (mem.last_exit.reason, mem.last_exit.code, mem.restart_count, mem.launched) == ("StartError", 127, 1, None)
    assert record_start_failure(rules("Never"), running(), 126, "x", NOW, at()).finished


def test_without_a_launch_there_is_no_exit() -> None:
    assert record_exit(WANT, Memory("u"), Exit(1, at()), NOW, at()) == Memory("u")


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_an_exit_that_was_asked_for_is_no_crash(policy: str) -> None:
    mem = ended(rules(policy, budget=(1, 60.0)), running(stopping=Stopping("declared Stopped", None)), 137)
    assert mem.last_exit is not None
    assert mem.last_exit.requested
    assert (mem.finished, mem.quarantined, mem.restart_count, mem.failures, mem.next_start) == (False, "", 0, 0, None)


def test_a_run_that_the_nodes_shutdown_ended_has_run() -> None:
    asked = running(stopping=Stopping(HALTED, None))
    assert ended(replace(rules("Never"), halting=True), asked, 137).finished
    assert ended(rules("Never"), asked, 137).finished, "also when it is recorded after the boot"
    assert not ended(replace(rules("Always"), halting=True), asked, 137).finished


@pytest.mark.parametrize(("policy", "finished"), [("Always", False), ("OnFailure", False), ("Never", True)])
def test_a_reboot_is_no_crash(policy: str, finished: bool) -> None:
    want = rules(policy, budget=(1, 60.0), **({} if policy == "Never" else {"max_retries": 0}))
    mem = record_exit(want, running(boot="former"), None, NOW, at())
    assert mem.last_exit is not None
    assert (mem.last_exit.reason, mem.last_exit.code) == ("Unknown", None)
    assert mem.last_exit.message.startswith("NodeRebooted")
    assert (mem.finished, mem.quarantined, mem.restart_count) == (finished, "", 0)
    assert mem.next_start == (None if finished else NOW)


@pytest.mark.parametrize(
    ("ages", "window", "quarantined"),
    [
        pytest.param([], 60.0, False, id="first"),
        pytest.param([10.0], 60.0, False, id="second"),
        pytest.param([10.0, 5.0], 60.0, True, id="third"),
        pytest.param([59.9, 5.0], 60.0, True, id="just inside"),
        pytest.param([60.0, 5.0], 60.0, False, id="just outside"),
        pytest.param([300.0, 200.0, 100.0], 60.0, False, id="long ago"),
    ],
)
def test_the_crash_budget_is_a_sliding_window(ages: list[float], window: float, quarantined: bool) -> None:
    mem = running(crashes=tuple(NOW.plus(-age) for age in ages))
    after = ended(rules(budget=(3, window)), mem)
    assert bool(after.quarantined) is quarantined
    assert (after.next_start is None) is quarantined
    assert len(after.crashes) <= 3


def test_who_counts_as_a_crash() -> None:
    want = rules(budget=(1, 60.0))
    assert not ended(want, running(), 0).quarantined
    assert ended(want, running(), 1).quarantined
    assert ended(want, running(), 0, true=False).quarantined, "an end that nobody saw counts"
    assert record_start_failure(want, running(), 127, "x", NOW, at()).quarantined
    former = running(crashes=(Instant("former", 999.0),))
    assert not ended(rules(budget=(2, 60.0)), former).quarantined, "crashes of another boot are forgotten"


@pytest.mark.parametrize("jump", [-365 * 86400.0, 0.0, 365 * 86400.0])
@pytest.mark.parametrize(("ran", "delay"), [(2.0, 0.1), (60.0, 0.0)])
def test_a_wall_clock_that_jumps_changes_nothing(jump: float, ran: float, delay: float) -> None:
    """The clock is set while the task runs: its end is dated by another clock than its start."""
    mem = record_exit(WANT, running(ago=ran), Exit(1, at(jump)), NOW, at(jump))
    assert mem.next_start is not None
    assert NOW.until(mem.next_start) == pytest.approx(delay)


def test_how_long_it_ran_when_nobody_watched() -> None:
    quick = record_exit(WANT, running(ago=3600.0), Exit(1, at(-3599.0)), NOW, at())
    assert NOW.until(quick.next_start or NOW) == pytest.approx(0.1), "it ended at once, and was found an hour later"


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:01Z", 1.0),
        ("2030-01-01T00:00:00.5Z", "2030-01-01T00:00:01.000000001Z", 0.5),
        ("2030-01-01T00:00:00.123456789Z", "2030-01-01T00:00:00.123456Z", 0.0),
        ("rubbish", "2030-01-01T00:00:01Z", 0.0),
        ("", "", 0.0),
    ],
)
def test_seconds_between(start: str, end: str, seconds: float) -> None:
    assert seconds_between(start, end) == pytest.approx(seconds)


def test_ten_exits_are_kept() -> None:
    mem = Memory("u", current=REV)
    for number in range(15):
        mem = ended(WANT, replace(mem, launched=Launched(1, number, at(), NOW)))
    assert [record.launch for record in mem.exits] == list(range(5, 15))
