"""What is shown: phase and conditions in every situation, times that move only when they should, and the patch between two."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.container.memory import ExitRecord, Launched, Memory, Revision
from controllers.container.model import Desired, Plan, Resolution, Seen, Waiting
from controllers.container.ports import Instance, TaskState
from controllers.container.status import Report, difference, exit_of, status_of
from controllers.engine.instants import Instant
from state.objects import Key, Object

WALL = datetime(2030, 1, 1, tzinfo=UTC)
AT = "2029-12-31T23:59:00.000000Z"
NOW = Instant("boot", 1000.0)
WANT = Desired(Key("Container", "default", "web"), "1-2", 3, {}, "a:1", "h", "l", host_network=True)
REV = Revision(1, "h", 1, "a:1", "sha256:1", "l")
IDLE = Memory("1-2", current=REV, launches=1, next_revision=2)
RUN = replace(IDLE, launched=Launched(1, 1, AT, NOW.plus(-60)))
ENDED = ExitRecord(1, 1, AT, "2029-12-31T23:59:30.000000Z", "Error", code=137, signal=9)
DONE = replace(IDLE, exits=(ENDED,))


def see(state: TaskState | None = "RUNNING", **more: Any) -> Seen:
    return Seen((Instance("12-1", "1-2", 1, "default", "web", task=state, pid=7 if state else 0),), **more)


NOTHING = see(None)


def report(want: Desired = WANT, seen: Seen = NOTHING, mem: Memory = IDLE, plan: Plan = Plan(), **more: Any) -> Report:
    return Report(want, seen, mem, plan, more.pop("now", NOW), more.pop("wall", WALL), **more)


def conditions(status: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


QUARANTINED = Waiting("Quarantined", "x")
PHASES = [
    pytest.param(report(seen=see(), mem=RUN), "Running", ("True", "Started"), id="running"),
    pytest.param(report(seen=see("PAUSED"), mem=RUN), "Paused", ("False", "Paused"), id="paused"),
    pytest.param(report(seen=see("PAUSING"), mem=RUN), "Paused", ("False", "Paused"), id="pausing"),
    pytest.param(report(seen=Seen(), mem=Memory("1-2")), "Pending", ("False", "Pending"), id="new"),
    pytest.param(
        report(seen=Seen(), mem=Memory("1-2"), plan=Plan(waits=Waiting("ImageNotFound", "a"))),
        "Pending",
        ("False", "ImageNotFound"),
        id="waits for its image",
    ),
    pytest.param(
        report(replace(WANT, run_state="Stopped"), Seen(), Memory("1-2")), "Created", ("False", "Created"), id="never started"
    ),
    pytest.param(report(replace(WANT, run_state="Stopped"), mem=DONE), "Exited", ("False", "Stopped"), id="stopped on request"),
    pytest.param(
        report(replace(WANT, run_state="Stopped"), see(), RUN),
        "Running",
        ("True", "Started"),
        id="declared Stopped, still alive",
    ),
    pytest.param(report(mem=replace(DONE, finished=True)), "Exited", ("False", "Completed"), id="ran to its end"),
    pytest.param(
        report(mem=replace(DONE, quarantined="x"), plan=Plan(waits=QUARANTINED)),
        "Exited",
        ("False", "Quarantined"),
        id="quarantined",
    ),
    pytest.param(
        report(mem=replace(DONE, next_start=NOW.plus(3))), "Restarting", ("False", "Restarting"), id="between two runs"
    ),
    pytest.param(report(replace(WANT, deleting=True), see(), RUN), "Removing", ("False", "Removing"), id="being removed"),
    pytest.param(
        report(replace(WANT, deleting=True), trouble="busy"), "Dead", ("False", "ReconcileFailed"), id="removal stuck"
    ),
    pytest.param(
        report(seen=see(fresh=False), mem=RUN, plan=Plan(waits=Waiting("RuntimeUnavailable", "x"))),
        "Unknown",
        ("Unknown", "RuntimeUnavailable"),
        id="containerd away",
    ),
    pytest.param(
        report(replace(WANT, deleting=True), Seen(fresh=False)), "Unknown", ("Unknown", "Unknown"), id="away while removed"
    ),
    pytest.param(report(replace(WANT, held=True), see("STOPPED"), RUN), "Exited", ("False", "Completed"), id="ended on hold"),
    pytest.param(
        report(replace(WANT, min_ready_s=61.0), see(), RUN), "Running", ("False", "MinReadySeconds"), id="not long enough"
    ),
    pytest.param(report(replace(WANT, min_ready_s=60.0), see(), RUN), "Running", ("True", "Started"), id="long enough"),
    pytest.param(report(trouble="no pump"), "Pending", ("False", "ReconcileFailed"), id="an error"),
]


@pytest.mark.parametrize(("what", "phase", "ready"), PHASES)
def test_phase_and_ready(what: Report, phase: str, ready: tuple[str, str]) -> None:
    status = status_of(what)
    assert (status["phase"], conditions(status)["Ready"]) == (phase, ready)
    assert status["observedGeneration"] == 3


@pytest.mark.parametrize("what", [row.values[0] for row in PHASES])
def test_equal_inputs_give_an_equal_status_whenever_it_is(what: Report) -> None:
    first = status_of(what)
    settled = replace(what, want=replace(what.want, status=first))
    later = replace(settled, wall=WALL + timedelta(days=3), now=replace(NOW, seconds=NOW.seconds + 0.5))
    assert status_of(settled) == first
    if what.want.min_ready_s == 0:
        assert status_of(later) == first


EXTRA = [
    pytest.param(report(replace(WANT, host_network=False)), "NetworksReady", ("False", "NoNetworkController"), id="sandbox"),
    pytest.param(
        report(plan=Plan(waits=Waiting("HostPathNotFound", "/x"))), "Waiting", ("True", "HostPathNotFound"), id="waits"
    ),
    pytest.param(report(replace(WANT, held=True)), "Held", ("True", "HoldAnnotation"), id="held"),
    pytest.param(report(mem=replace(IDLE, quarantined="x")), "Quarantined", ("True", "CrashBudget"), id="quarantined"),
    pytest.param(
        report(mem=replace(IDLE, failed_hash="h2", failed_reason="x")),
        "ReplacementFailed",
        ("True", "NewRevisionNotReady"),
        id="put back",
    ),
    pytest.param(report(seen=see(env_refs="new"), mem=RUN), "ConfigStale", ("True", "ReferenceChanged"), id="environment"),
    pytest.param(
        report(seen=see(missing_refs=("Secret s",)), mem=RUN), "ReferenceMissing", ("True", "NotFound"), id="a source deleted"
    ),
    pytest.param(report(trouble="x"), "ReconcileFailed", ("True", "Retrying"), id="an error"),
    pytest.param(report(trouble="x", refused=True), "ReconcileFailed", ("True", "Refused"), id="an error that stays"),
    pytest.param(
        report(mem=replace(IDLE, current=replace(REV, stale=True))), "ImageStale", ("True", "RegistryUnavailable"), id="image"
    ),
]


@pytest.mark.parametrize(("what", "type", "said"), EXTRA)
def test_conditions_are_there_when_true(what: Report, type: str, said: tuple[str, str]) -> None:
    assert conditions(status_of(what))[type] == said


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(report(seen=see(), mem=RUN), id="all well"),
        pytest.param(
            report(seen=see(fresh=False), mem=replace(RUN, launched=Launched(1, 1, AT, NOW, refs="e"))), id="not looked"
        ),
        pytest.param(
            report(replace(WANT, deleting=True), see(), replace(RUN, launched=Launched(1, 1, AT, NOW, refs="e"))), id="deleted"
        ),
    ],
)
def test_and_only_then(what: Report) -> None:
    assert set(conditions(status_of(what))) == {"Ready"}


def test_a_stale_image_is_told_in_every_pass_and_not_by_the_resolution_of_one() -> None:
    mem = replace(RUN, current=replace(REV, stale=True))
    assert "ImageStale" in conditions(status_of(report(seen=see(), mem=mem)))
    fresh = see(resolution=Resolution("a:1", "sha256:2", stale=True))
    assert "ImageStale" not in conditions(status_of(report(seen=fresh, mem=RUN)))


def test_last_transition_moves_only_with_the_status() -> None:
    def ready(status: Object) -> Object:
        return next(c for c in status["conditions"] if c["type"] == "Ready")

    pending = status_of(report())
    waits = Plan(waits=Waiting("ImageNotFound", "a"))
    later = WALL + timedelta(hours=1)
    waiting = status_of(report(replace(WANT, status=pending), plan=waits, wall=later))
    assert ready(waiting)["reason"] == "ImageNotFound"
    assert ready(waiting)["lastTransitionTime"] == ready(pending)["lastTransitionTime"]
    running = status_of(report(replace(WANT, status=waiting), see(), RUN, wall=later))
    assert ready(running)["lastTransitionTime"] == "2030-01-01T01:00:00Z"


def test_the_next_start_is_told_once_per_wait() -> None:
    mem = replace(DONE, next_start=NOW.plus(3), restart_count=2)
    first = status_of(report(mem=mem))
    assert first["nextStartAt"] == "2030-01-01T00:00:03.000000Z"
    later = report(replace(WANT, status=first), mem=mem, now=NOW.plus(1), wall=WALL + timedelta(seconds=1.01))
    assert status_of(later)["nextStartAt"] == first["nextStartAt"]
    again = replace(mem, next_start=NOW.plus(9), restart_count=3)
    assert status_of(report(replace(WANT, status=first), mem=again))["nextStartAt"] == "2030-01-01T00:00:09.000000Z"
    assert "nextStartAt" not in status_of(report(seen=see(), mem=replace(RUN, next_start=NOW)))


def test_only_a_launch_that_was_seen_is_shown_as_started() -> None:
    assert status_of(report(seen=see(), mem=RUN))["startedAt"] == AT
    assert "startedAt" not in status_of(report(mem=RUN)), "asked for, not seen"
    away = Seen(fresh=False)
    assert "startedAt" not in status_of(report(seen=away, mem=RUN))
    assert status_of(report(replace(WANT, status={"startedAt": AT}), away, RUN))["startedAt"] == AT


def test_of_one_at_rest_the_last_exit_is_shown_above() -> None:
    status = status_of(report(mem=replace(DONE, finished=True)))
    assert (status["exitCode"], status["signal"], status["reason"]) == (137, 9, "Error")
    assert status["lastExit"]["finishedAt"] == status["finishedAt"]
    running = status_of(report(seen=see(), mem=replace(RUN, exits=(ENDED,))))
    assert "exitCode" not in running
    assert running["lastExit"]["exitCode"] == 137


def test_an_exit_shows_what_is_known() -> None:
    unknown = replace(ENDED, code=None, signal=None, reason="Unknown", reported=137, message="ShimLost")
    assert exit_of(unknown) == {
        "revision": 1,
        "startedAt": AT,
        "finishedAt": ENDED.finished_at,
        "reason": "Unknown",
        "message": "ShimLost",
        "reported": 137,
    }
    assert exit_of(replace(ENDED, code=0, signal=None))["exitCode"] == 0
    assert exit_of(replace(ENDED, requested=True))["requested"] is True


PLAIN = st.one_of(st.integers(-3, 3), st.text("ab", max_size=2), st.booleans(), st.lists(st.integers(0, 2), max_size=2))
OBJECTS = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), PLAIN, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), PLAIN | inner, max_size=4),
    max_leaves=12,
)


@given(OBJECTS, OBJECTS)
def test_the_difference_turns_one_into_the_other(old: Object, new: Object) -> None:
    before = copy.deepcopy(old), copy.deepcopy(new)
    assert _merged(old, difference(old, new)) == new
    assert (old, new) == before
    assert difference(new, new) == {}


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
