"""Tables of ``decide``: one row per rule and edge. (declared, seen, memory) -> the words of the plan.

A plan is written as its steps' names with what they are about, then ``after=`` and ``waits=`` where there are any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.container.decide import decide
from controllers.container.memory import HALTED, ExitRecord, Launched, Memory, Revision, Stopping
from controllers.container.model import (
    Create,
    Desired,
    Launch,
    Plan,
    Reap,
    Remember,
    Remove,
    Resolution,
    Resolve,
    RestartRules,
    Seen,
    Signal,
    Situation,
)
from controllers.container.ports import Exit, Instance, TaskState
from controllers.engine.instants import Instant
from state.objects import Key

UID = "11111111-2222-3333-4444-555555555555"
WALL = "2030-01-01T00:00:00.000000Z"
AT = "2029-12-31T23:59:00.000000Z"
NOW = Instant("boot", 1000.0)
WANT = Desired(
    key=Key("Container", "default", "web"), uid=UID, generation=1, spec={"image": "a"}, image="a:1", hash="h1", live="l1"
)
REV1 = Revision(1, "h1", 1, "a:1", "sha256:1", "l1", since=NOW.plus(-60))
REV2 = replace(REV1, number=2, hash="h2")
OLD = replace(REV1, ready=True)
FOUND = Resolution("a:1", "sha256:1")
NEVER, ON_FAILURE = RestartRules(policy="Never"), RestartRules(policy="OnFailure")
ENDED = ExitRecord(1, 1, AT, WALL, "Error", code=1)
GONE = Memory(UID)
IDLE = Memory(UID, "default", "web", next_revision=2, launches=1, current=REV1)
RUN = replace(IDLE, launched=Launched(1, 1, AT, NOW.plus(-60), live="l1"))
READY = replace(RUN, current=OLD)
TRIAL = replace(IDLE, next_revision=3, current=REV2, previous=OLD, launched=Launched(2, 2, AT, NOW.plus(-5), live="l1"))
NEW = replace(WANT, hash="h2")


def task(revision: int = 1, state: TaskState | None = "RUNNING", code: int | None = None, at: str = WALL) -> Instance:
    exit = None if code is None else Exit(code, at)
    return Instance(WANT.id(revision), UID, revision, "default", "web", task=state, pid=7 if state else 0, exit=exit)


def see(*instances: Instance, **more: Any) -> Seen:
    return Seen(instances, **more)


def ask(mem: Memory, why: str = "declared Stopped", left: float | None = 5.0, since: float = -5.0) -> Memory:
    kill_at = None if left is None else NOW.plus(left)
    return replace(mem, stopping=Stopping(why, kill_at, since=NOW.plus(since)))


ASKED = Signal(WANT.id(1), "SIGTERM", NOW.plus(-0.5))


def killed(ago: float) -> Signal:
    return Signal(WANT.id(1), "SIGKILL", NOW.plus(ago), everyone=True)


def words(plan: Plan) -> str:
    told = [_word(step) for step in plan.steps]
    if plan.after is not None:
        told.append(f"after={plan.after:g}")
    if plan.waits is not None:
        told.append(f"waits={plan.waits.reason}")
    return " ".join([f"{plan.rule}:", *told])


def _word(step: object) -> str:
    name = type(step).__name__
    match step:
        case Remember(bury=True):
            return "Bury"
        case Signal(signal=signal, everyone=everyone, resume=resume):
            return f"{signal}{'*' if everyone else ''}{'+thaw' if resume else ''}"
        case Reap(force=True):
            return "Reap!"
        case Resolve(image=False):
            return "Check"
        case Create(revision=n) | Launch(revision=n):
            return f"{name}{n}"
        case Remove(id=id):
            return f"Remove{id.rpartition('-')[2]}"
    return name


def row(id: str, want: Desired, seen: Seen, mem: Memory, plan: str) -> Any:
    return pytest.param(want, seen, mem, plan, id=id)


def of(**change: Any) -> Desired:
    return replace(WANT, **change)


STOPPED, PAUSED, DELETED = of(run_state="Stopped"), of(run_state="Paused"), of(deleting=True)

UNSEEN = [
    row("stale view", WANT, see(task(), fresh=False), RUN, "unseen: waits=RuntimeUnavailable"),
    row("stale view while deleted", DELETED, see(task(), fresh=False), RUN, "unseen: waits=RuntimeUnavailable"),
    row("held", of(held=True), see(task(state="STOPPED", code=0)), RUN, "unseen:"),
    row("held until", of(held=True, hold_left_s=9.0), see(task()), RUN, "unseen: after=9"),
    row("held and deleted", of(held=True, deleting=True), see(task()), RUN, "unseen:"),
    row("ledger lost", WANT, see(task()), GONE, "unseen: Recall"),
    row("ledger lost, only a record", WANT, see(task(state=None)), GONE, "unseen: Recall"),
    row("ledger lost, two records", WANT, see(task(1, None), task(2)), GONE, "unseen: Recall"),
]

COLLECTING = [
    row("exit on record first", WANT, see(task(state="STOPPED", code=3)), RUN, "collecting: Remember Reap"),
    row("recorded, not yet reaped", WANT, see(task(state="STOPPED", code=3)), IDLE, "collecting: Reap"),
    row("exit of another revision", NEW, see(task(1, "STOPPED", 0), task(2)), TRIAL, "collecting: Reap"),
    row("exit while deleted", DELETED, see(task(state="STOPPED", code=0)), RUN, "collecting: Remember Reap"),
    row(
        "exit while the node stops", of(halting=True), see(task(state="STOPPED", code=0)), ask(RUN), "collecting: Remember Reap"
    ),
    row("half-made", WANT, see(task(state="CREATED")), RUN, "collecting: Reap!"),
    row("half-made, deleted", DELETED, see(task(state="CREATED")), RUN, "collecting: Reap!"),
    row("shim does not answer", WANT, see(task(state="UNKNOWN")), RUN, "collecting: Reap!"),
    row("vanished, never shown", WANT, see(task(state=None)), RUN, "collecting: Remember"),
    row("vanished, shown", of(status={"startedAt": AT}), see(task(state=None)), RUN, "collecting: Remember"),
    row("record gone too", of(status={"startedAt": AT}), see(), RUN, "collecting: Remember"),
    row("vanished while deleted", replace(DELETED, status={"startedAt": AT}), see(), RUN, "collecting: Remember"),
    row("vanished while stopped", replace(STOPPED, status={"startedAt": AT}), see(), ask(RUN), "collecting: Remember"),
]

REMOVING = [
    row("tombstone first", DELETED, see(task()), RUN, "removing: Bury"),
    row("then the stop", DELETED, see(task()), replace(RUN, buried=True), "removing: Remember SIGTERM after=30"),
    row(
        "forced", of(deleting=True, grace_s=0.0), see(task()), replace(RUN, buried=True), "removing: Remember SIGKILL* after=2"
    ),
    row("paused", DELETED, see(task(state="PAUSED")), replace(RUN, buried=True), "removing: Remember SIGTERM+thaw after=30"),
    row(
        "paused, forced",
        of(deleting=True, grace_s=0.0),
        see(task(state="PAUSED")),
        replace(RUN, buried=True),
        "removing: Remember SIGKILL*+thaw after=2",
    ),
    row(
        "a stop under way goes on",
        of(deleting=True),
        see(task(), signalled=ASKED),
        replace(ask(RUN), buried=True),
        "removing: after=5",
    ),
    row("records", DELETED, see(task(1, None), task(2, None)), replace(IDLE, buried=True), "removing: Remove1 Remove2"),
    row("never ran", DELETED, see(), Memory(UID), "removing: Bury"),
    row("leftovers", DELETED, see(leftovers=True), replace(IDLE, buried=True), "removing: Release"),
    row("last of all", DELETED, see(), replace(IDLE, buried=True), "removing: Finish"),
    row("quarantined ones go too", DELETED, see(), replace(IDLE, buried=True, quarantined="x"), "removing: Finish"),
    row("while the node stops", of(deleting=True, halting=True), see(), replace(IDLE, buried=True), "removing: Finish"),
]

STOPPING = [
    row("asked", STOPPED, see(task()), RUN, "stopping: Remember SIGTERM after=30"),
    row(
        "its own signal", of(run_state="Stopped", stop_signal="SIGINT"), see(task()), RUN, "stopping: Remember SIGINT after=30"
    ),
    row(
        "the image's signal",
        STOPPED,
        see(task()),
        replace(RUN, current=replace(REV1, stop_signal="SIGQUIT")),
        "stopping: Remember SIGQUIT after=30",
    ),
    row("no grace", of(run_state="Stopped", grace_s=0.0), see(task()), RUN, "stopping: Remember SIGKILL* after=2"),
    row("endless grace", of(run_state="Stopped", grace_s=-1.0), see(task()), RUN, "stopping: Remember SIGTERM"),
    row("paused", STOPPED, see(task(state="PAUSED")), RUN, "stopping: Remember SIGTERM+thaw after=30"),
    row("pausing", STOPPED, see(task(state="PAUSING")), RUN, "stopping: Remember SIGTERM+thaw after=30"),
    row("within the grace", STOPPED, see(task(), signalled=ASKED), ask(RUN), "stopping: after=5"),
    row("meant by a former life", STOPPED, see(task()), ask(RUN), "stopping: SIGTERM after=5"),
    row("meant, endless", of(run_state="Stopped", grace_s=-1.0), see(task()), ask(RUN, left=None), "stopping: SIGTERM"),
    row(
        "endless, asked",
        of(run_state="Stopped", grace_s=-1.0),
        see(task(), signalled=ASKED),
        ask(RUN, left=None),
        "stopping:",
    ),
    row("grace over", STOPPED, see(task(), signalled=ASKED), ask(RUN, left=0), "stopping: SIGKILL* after=2"),
    row("killed a moment ago", STOPPED, see(task(), signalled=killed(-0.5)), ask(RUN, left=-1), "stopping: after=1.5"),
    row("killed a while ago", STOPPED, see(task(), signalled=killed(-2)), ask(RUN, left=-9), "stopping: SIGKILL* after=2"),
    row(
        "asked just before the grace was over",
        STOPPED,
        see(task(), signalled=ASKED),
        ask(RUN, left=-0.1),
        "stopping: SIGKILL* after=2",
    ),
    row("grace over, frozen", STOPPED, see(task(state="PAUSED")), ask(RUN, left=-1), "stopping: SIGKILL*+thaw after=2"),
    row(
        "shortened to what has passed",
        of(run_state="Stopped", grace_s=5.0),
        see(task()),
        ask(RUN),
        "stopping: SIGKILL* after=2",
    ),
    row(
        "shortened",
        of(run_state="Stopped", grace_s=7.0),
        see(task(), signalled=ASKED),
        ask(RUN, left=295),
        "stopping: after=2",
    ),
    row("an endless one shortened", STOPPED, see(task(), signalled=ASKED), ask(RUN, left=None), "stopping: after=25"),
    row(
        "never prolonged",
        of(run_state="Stopped", grace_s=300.0),
        see(task(), signalled=ASKED),
        ask(RUN),
        "stopping: after=5",
    ),
    row(
        "never prolonged to endless",
        of(run_state="Stopped", grace_s=-1.0),
        see(task(), signalled=ASKED),
        ask(RUN),
        "stopping: after=5",
    ),
    row("goes on though Running is declared again", WANT, see(task(), signalled=ASKED), ask(RUN), "stopping: after=5"),
    row("of another boot", STOPPED, see(task()), ask(RUN, left=0), "stopping: SIGKILL* after=2"),
    row("seen stopped", STOPPED, see(task(state=None)), IDLE, "stopping: Remember"),
    row("rests", STOPPED, see(task(state=None)), replace(IDLE, stop_seen=True), "stopping:"),
    row("never ran, declared Stopped", STOPPED, see(), replace(GONE, stop_seen=True), "stopping:"),
    row(
        "autoRemove",
        of(run_state="Stopped", auto_remove=True),
        see(task(state=None)),
        replace(IDLE, stop_seen=True),
        "stopping: Delete",
    ),
    row(
        "autoRemove that never ran",
        of(run_state="Stopped", auto_remove=True),
        see(),
        replace(GONE, stop_seen=True),
        "stopping:",
    ),
    row("node stops", of(halting=True), see(task()), RUN, "stopping: Remember SIGTERM after=30"),
    row("node stops, at rest", of(halting=True), see(task(state=None)), IDLE, "stopping: waits=NodeHalting"),
    row("node stops, back-off", of(halting=True), see(), replace(IDLE, next_start=NOW), "stopping: waits=NodeHalting"),
    row("quarantined and alive", WANT, see(task()), replace(RUN, quarantined="x"), "stopping: Remember SIGTERM after=30"),
    row("another revision runs", WANT, see(task(2)), RUN, "collecting: Remember"),
    row("another revision runs, settled", WANT, see(task(2)), IDLE, "stopping: Remember SIGTERM after=30"),
    row("restart asked", of(restarted_at="t1"), see(task()), RUN, "stopping: Remember SIGTERM after=30"),
    row("restart done", of(restarted_at="t1"), see(task()), replace(READY, restarted_at="t1"), "settled:"),
]

QUARANTINED = [
    row("rests", WANT, see(task(state=None)), replace(IDLE, quarantined="x"), "quarantined: waits=Quarantined"),
    row(
        "restart does not release",
        of(restarted_at="t"),
        see(),
        replace(IDLE, quarantined="x"),
        "quarantined: waits=Quarantined",
    ),
    row("another spec does not release", NEW, see(), replace(IDLE, quarantined="x"), "quarantined: waits=Quarantined"),
    row("retry releases", of(retried_at="t"), see(), replace(IDLE, quarantined="x"), "quarantined: Remember"),
    row(
        "retry is once",
        of(retried_at="t"),
        see(),
        replace(IDLE, quarantined="x", retried_at="t"),
        "quarantined: waits=Quarantined",
    ),
    row("retry of a sound one", of(retried_at="t"), see(task()), RUN, "quarantined: Remember"),
    row(
        "on trial gives way",
        NEW,
        see(task(1, None), task(2, None)),
        replace(TRIAL, launched=None, quarantined="x", exits=(replace(ENDED, revision=2),)),
        "quarantined: Remember",
    ),
]

REPLACING = [
    row("image first", NEW, see(task()), RUN, "replacing: Resolve"),
    row("then the stop", NEW, see(task(), resolution=FOUND), RUN, "replacing: Remember SIGTERM after=30"),
    row("then the revision", NEW, see(task(1, None), resolution=FOUND), replace(IDLE, current=OLD), "replacing: Remember"),
    row("while Stopped it waits", replace(NEW, run_state="Stopped"), see(), replace(IDLE, stop_seen=True), "stopping:"),
    row("failed before", NEW, see(task()), replace(READY, failed_hash="h2"), "settled:"),
    row(
        "failed before, its record goes",
        NEW,
        see(task(), task(2, None)),
        replace(READY, failed_hash="h2"),
        "replacing: Remove2",
    ),
    row("failed before, declared as it was", WANT, see(task()), replace(READY, failed_hash="h2"), "replacing: Remember"),
    row("ready at once", NEW, see(task(1, None), task(2)), TRIAL, "replacing: Remember"),
    row("not yet long enough", replace(NEW, min_ready_s=8.0), see(task(1, None), task(2)), TRIAL, "replacing: after=3"),
    row("just long enough", replace(NEW, min_ready_s=5.0), see(task(1, None), task(2)), TRIAL, "replacing: Remember"),
    row(
        "not in time",
        replace(NEW, min_ready_s=100.0, progress_deadline_s=60.0),
        see(task(1, None), task(2)),
        TRIAL,
        "replacing: Remember SIGTERM after=30",
    ),
    row(
        "just in time",
        replace(NEW, min_ready_s=100.0, progress_deadline_s=61.0),
        see(task(1, None), task(2)),
        TRIAL,
        "replacing: after=95",
    ),
    row(
        "not in time, something writable",
        replace(NEW, min_ready_s=100.0, progress_deadline_s=60.0),
        see(task(1, None), task(2)),
        replace(TRIAL, current=replace(REV2, writable=True)),
        "replacing: Remember",
    ),
    row(
        "never ran, something writable",
        replace(NEW, progress_deadline_s=60.0),
        see(task(1, None)),
        replace(TRIAL, launched=None, current=replace(REV2, writable=True), exits=(replace(ENDED, requested=True),)),
        "replacing: Remember",
    ),
    row("the old record goes", replace(NEW), see(task(1, None), task(2)), replace(TRIAL, previous=None), "replacing: Remove1"),
    row(
        "a boot in between",
        NEW,
        see(task(1, None)),
        replace(TRIAL, launched=None, current=replace(REV2, since=Instant("former", 1.0))),
        "replacing: Remember",
    ),
]

WAITING = [
    row("back-off", WANT, see(task(state=None)), replace(IDLE, next_start=NOW.plus(3)), "waiting: after=3"),
    row("back-off over", WANT, see(task(state=None)), replace(IDLE, next_start=NOW), "running: Check"),
    row("back-off of another boot", WANT, see(), replace(IDLE, next_start=Instant("former", 1e9)), "running: Resolve"),
    row("ended", of(restart=NEVER), see(task(state=None)), replace(IDLE, finished=True, exits=(ENDED,)), "waiting:"),
    row(
        "ended, autoRemove",
        of(restart=NEVER, auto_remove=True),
        see(task(state=None)),
        replace(IDLE, finished=True, exits=(ENDED,)),
        "waiting: Delete",
    ),
    row("policy changed", WANT, see(task(state=None)), replace(IDLE, finished=True, exits=(ENDED,)), "waiting: Remember"),
    row(
        "policy changed, but it went well",
        of(restart=ON_FAILURE),
        see(task(state=None)),
        replace(IDLE, finished=True, exits=(replace(ENDED, code=0, reason="Completed"),)),
        "waiting:",
    ),
    row(
        "retries used up",
        of(restart=RestartRules(policy="OnFailure", max_retries=2)),
        see(task(state=None)),
        replace(IDLE, finished=True, restart_count=2, exits=(ENDED,)),
        "waiting:",
    ),
    row("ended, restart asked", of(restarted_at="t", restart=NEVER), see(), replace(IDLE, finished=True), "waiting: Remember"),
    row("back-off, restart asked", of(restarted_at="t"), see(), replace(IDLE, next_start=NOW.plus(9)), "waiting: Remember"),
]

RUNNING = [
    row("new", WANT, see(), GONE, "running: Resolve"),
    row("new, found", WANT, see(ready=True, resolution=FOUND), GONE, "running: Remember Create1 Launch1"),
    row("new, ready but no image", WANT, see(ready=True), GONE, "running: Resolve"),
    row("again", WANT, see(task(state=None)), IDLE, "running: Check"),
    row("again, checked", WANT, see(task(state=None), ready=True), IDLE, "running: Remember Launch1"),
    row(
        "restart takes its turn",
        WANT,
        see(task(state=None), ready=True),
        replace(IDLE, next_start=NOW),
        "running: Admit Remember Launch1",
    ),
    row("record gone", WANT, see(), IDLE, "running: Resolve"),
    row("record gone, found", WANT, see(ready=True, resolution=FOUND), IDLE, "running: Remember Create1 Launch1"),
    row("declared Paused starts", PAUSED, see(task(state=None), ready=True), IDLE, "running: Remember Launch1"),
]

LIVE = [
    row("pause", PAUSED, see(task()), RUN, "pausing: Pause"),
    row("paused", PAUSED, see(task(state="PAUSED")), READY, "settled:"),
    row("thaw", WANT, see(task(state="PAUSED")), RUN, "pausing: Resume"),
    row("thaw what is freezing", WANT, see(task(state="PAUSING")), RUN, "pausing: Resume"),
    row("limits", of(live="l2"), see(task()), RUN, "repairing: Update Remember"),
    row("limits, frozen", of(live="l2", run_state="Paused"), see(task(state="PAUSED")), RUN, "repairing: Update Remember"),
    row("files", WANT, see(task(), stale_refs=True), RUN, "repairing: Refresh"),
    row("not long enough", of(min_ready_s=100.0), see(task()), RUN, "repairing: after=40"),
    row("long enough", of(min_ready_s=60.0), see(task()), RUN, "settled:"),
    row("given up, and there after all", WANT, see(task()), IDLE, "repairing: Remember"),
    row("as declared", WANT, see(task()), READY, "settled:"),
    row("environment changed: told, not done", WANT, see(task(), env_refs="other"), READY, "settled:"),
]

TABLE = [*UNSEEN, *COLLECTING, *REMOVING, *STOPPING, *QUARANTINED, *REPLACING, *WAITING, *RUNNING, *LIVE]


@pytest.mark.parametrize(("want", "seen", "mem", "plan"), TABLE)
def test_plan(want: Desired, seen: Seen, mem: Memory, plan: str) -> None:
    assert words(decide(Situation(want, seen, mem, NOW, WALL))) == plan


def remembered(want: Desired, seen: Seen, mem: Memory) -> Memory:
    """The first memory that the plan keeps."""
    plan = decide(Situation(want, seen, mem, NOW, WALL))
    return next(step.memory for step in plan.steps if isinstance(step, Remember))


def test_every_rule_has_rows() -> None:
    rules = {str(parameters.values[3]).partition(":")[0] for parameters in TABLE}
    assert rules >= {
        "unseen",
        "collecting",
        "removing",
        "stopping",
        "quarantined",
        "replacing",
        "waiting",
        "running",
        "pausing",
        "repairing",
    }
    assert len(TABLE) >= 80


def test_a_task_that_was_never_shown_is_no_exit() -> None:
    after = remembered(WANT, see(task(state=None)), RUN)
    assert (after.launched, after.exits, after.launches, after.restart_count) == (None, (), 0, 0)


def test_one_that_was_shown_is_an_exit_that_nobody_knows() -> None:
    after = remembered(of(status={"startedAt": AT}), see(task(state=None)), RUN)
    assert after.last_exit is not None
    assert (after.last_exit.reason, after.last_exit.code, after.restart_count) == ("Unknown", None, 1)


def test_an_exit_told_of_the_run_before_is_not_this_ones() -> None:
    before = replace(task(state=None), exit=Exit(137, AT, true=False))
    assert remembered(WANT, see(before), RUN).exits == ()
    after = replace(task(state=None), exit=Exit(137, WALL, true=False))
    assert remembered(WANT, see(after), RUN).last_exit is not None


def test_seen_stopped_makes_the_next_start_a_fresh_one() -> None:
    tired = replace(IDLE, finished=True, failures=4, last_delay_s=1.6, restart_count=9, next_start=NOW.plus(60))
    after = remembered(STOPPED, see(), tired)
    assert after.stop_seen
    assert (after.finished, after.failures, after.last_delay_s, after.restart_count, after.next_start) == (
        False,
        0,
        0.0,
        0,
        None,
    )


def test_retry_gives_everything_another_chance() -> None:
    stuck = replace(IDLE, quarantined="x", crashes=(NOW,), failures=5, finished=True, failed_hash="h2", failed_reason="y")
    after = remembered(of(retried_at="t"), see(), stuck)
    assert (after.quarantined, after.crashes, after.failures, after.finished, after.failed_hash) == ("", (), 0, False, "")
    assert remembered(of(retried_at="t"), see(), replace(IDLE, finished=True)).finished, "what ended well is no failure"


def test_put_back_keeps_the_reason_and_restarts_the_old_one() -> None:
    failed = replace(TRIAL, launched=None, exits=(replace(ENDED, revision=2, code=7),))
    after = remembered(NEW, see(task(1, None), task(2, None)), failed)
    assert after.current is not None
    assert (after.current.number, after.previous, after.failed_hash) == (1, None, "h2")
    assert "exit code 7" in after.failed_reason


def test_with_something_writable_it_stays_and_says_so() -> None:
    failed = replace(TRIAL, launched=None, current=replace(REV2, writable=True), exits=(replace(ENDED, revision=2),))
    after = remembered(NEW, see(task(1, None), task(2, None)), failed)
    assert after.current is not None
    assert (after.current.number, after.failed_hash) == (2, "h2")
    assert "writable" in after.failed_reason


@pytest.mark.parametrize(
    "exits", [(), (replace(ENDED, revision=2, reason="StartError", code=127),)], ids=["missing", "no exec"]
)
def test_what_never_ran_is_put_back_whatever_is_mounted(exits: tuple[ExitRecord, ...]) -> None:
    stuck = replace(TRIAL, launched=None, current=replace(REV2, writable=True), exits=exits)
    after = remembered(replace(NEW, progress_deadline_s=60.0), see(task(1, None)), stuck)
    assert after.current is not None
    assert after.current.number == 1


def test_the_predecessor_is_kept_only_if_it_was_ever_ready() -> None:
    seen = see(task(1, None), resolution=FOUND)
    assert remembered(NEW, seen, replace(IDLE, current=OLD)).previous == OLD
    assert remembered(NEW, seen, IDLE).previous is None


def test_declared_as_before_goes_back_to_the_kept_record() -> None:
    on_trial = replace(TRIAL, launched=None)
    after = remembered(WANT, see(task(1, None), task(2, None), resolution=FOUND), on_trial)
    assert after.current is not None
    assert (after.current.number, after.next_revision) == (1, 3)


def test_a_stale_image_is_remembered_with_its_revision() -> None:
    after = remembered(WANT, see(ready=True, resolution=replace(FOUND, stale=True)), GONE)
    assert after.current is not None
    assert after.current.stale


def test_an_intent_is_of_now_and_forgets_what_went_before() -> None:
    mem = replace(IDLE, stopping=Stopping("x", NOW), next_start=NOW, stop_seen=True, restart_count=4, restarted_at="t0")
    after = remembered(of(restarted_at="t0"), see(task(state=None), ready=True, env_refs="e", resolution=FOUND), mem)
    assert after.launched == Launched(1, 2, WALL, NOW, live="l1", refs="e")
    assert (after.stopping, after.next_start, after.stop_seen, after.restart_count) == (None, None, False, 4)


def test_a_record_with_an_old_environment_is_brought_up_to_date_before_the_launch() -> None:
    changed = see(task(state=None), ready=True, env_refs="e", resolution=FOUND)
    steps = decide(Situation(of(), changed, IDLE, NOW, WALL)).steps
    assert [type(step) for step in steps] == [Remember, Create, Launch]
    after = remembered(of(), changed, IDLE)
    assert after.current is not None
    assert after.current.refs == "e"
    steps = decide(Situation(of(), changed, replace(IDLE, current=after.current), NOW, WALL)).steps
    assert [type(step) for step in steps] == [Remember, Launch]


def test_a_restart_that_was_asked_for_counts_anew() -> None:
    mem = replace(IDLE, restart_count=4, failures=4, restarted_at="t0")
    after = remembered(of(restarted_at="t1"), see(task(state=None), ready=True), mem)
    assert (after.restart_count, after.failures, after.restarted_at) == (0, 0, "t1")


def test_the_reason_of_a_stop_is_kept() -> None:
    def why(want: Desired, mem: Memory = RUN) -> str:
        stopping = remembered(want, see(task(), resolution=FOUND), mem).stopping
        assert stopping is not None
        return stopping.why

    assert why(STOPPED) == "declared Stopped"
    assert why(of(halting=True)) == HALTED
    assert why(of(restarted_at="t")) == "restart asked for"
    assert why(NEW) == "replaced"
    assert why(DELETED, replace(RUN, buried=True)) == "deleted"


def test_one_that_was_long_enough_up_is_worth_putting_back() -> None:
    for min_ready, ready in ((60.0, True), (61.0, False)):
        current = remembered(of(run_state="Stopped", min_ready_s=min_ready), see(task()), RUN).current
        assert current is not None
        assert current.ready is ready


@pytest.mark.parametrize(("grace", "left"), [(0.0, 0.0), (30.0, 30.0), (-1.0, None)])
def test_when_a_stop_becomes_a_kill(grace: float, left: float | None) -> None:
    stopping = remembered(of(run_state="Stopped", grace_s=grace), see(task()), RUN).stopping
    assert stopping == Stopping("declared Stopped", None if left is None else NOW.plus(left), since=NOW)
