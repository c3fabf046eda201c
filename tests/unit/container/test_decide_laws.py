"""Laws of ``decide`` over every small world: it converges, then acts no more, and never names what is not ours."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from controllers.container.decide import decide
from controllers.container.foresee import MOST_STEPS, after, foresee
from controllers.container.memory import ExitRecord, Launched, Memory, Revision, Stopping, dump, load
from controllers.container.model import (
    LIVE,
    Create,
    Delete,
    Desired,
    Finish,
    Launch,
    Plan,
    Reap,
    Recall,
    Remember,
    Remove,
    RestartRules,
    Seen,
    Situation,
)
from controllers.container.ports import Exit, Instance
from controllers.engine.instants import Instant
from state.objects import Key

UID = "11111111-2222-3333-4444-555555555555"
WALL = "2030-01-01T00:00:00.000000Z"
NOW = Instant("boot", 1000.0)
KEY = Key("Container", "default", "web")

WANT = Desired(key=KEY, uid=UID, generation=1, spec={"image": "a"}, image="docker.io/library/a:latest", hash="h1", live="l1")
REV1 = Revision(1, "h1", 1, WANT.image, "sha256:1", "l1", since=NOW)
REV2 = replace(REV1, number=2, hash="h2")


def instance(revision: int, task: str | None = "RUNNING", exit: Exit | None = None) -> Instance:
    return Instance(WANT.id(revision), UID, revision, "default", "web", task=task, pid=7 if task else 0, exit=exit)  # type: ignore[arg-type]


def launched(revision: int = 1, ago: float = 60.0, boot: str = "boot") -> Launched:
    return Launched(revision, 1, "2029-12-31T23:59:00.000000Z", Instant(boot, NOW.seconds - ago), live="l1")


def situation(want: Desired = WANT, seen: Seen = Seen(), mem: Memory | None = None) -> Situation:
    return Situation(want, seen, mem or Memory(UID), NOW, WALL)


TASKS = [None, "CREATED", "RUNNING", "PAUSED", "STOPPED"]
DECLARED = [
    pytest.param(want, id="-".join(f"{k}={v}" for k, v in change.items() if k != "restart") + f"-{policy}")
    for change in (
        {"run_state": "Running"},
        {"run_state": "Stopped"},
        {"run_state": "Paused"},
        {"deleting": True},
        {"held": True},
        {"auto_remove": True},
        {"hash": "h2"},
        {"live": "l2"},
        {"restarted_at": "now"},
        {"retried_at": "now"},
        {"grace_s": 0.0},
        {"grace_s": -1.0},
        {"min_ready_s": 3.0, "hash": "h2"},
    )
    for policy in ("Always", "OnFailure", "Never")
    for want in [replace(WANT, restart=RestartRules(policy=policy), **change)]  # type: ignore[arg-type]
]


def memories() -> list[Memory]:
    base = Memory(UID, "default", "web", next_revision=2, launches=1, current=REV1)
    ended = ExitRecord(1, 1, WALL, WALL, "Error", code=1)
    return [
        Memory(UID),
        base,
        replace(base, launched=launched()),
        replace(base, launched=launched(boot="former")),
        replace(base, launched=launched(), stopping=Stopping("declared Stopped", NOW.plus(5))),
        replace(base, launched=launched(), stopping=Stopping("declared Stopped", None)),
        replace(base, finished=True, exits=(ended,)),
        replace(base, next_start=NOW.plus(5), failures=3, exits=(ended,)),
        replace(base, quarantined="3 crashes within 60 s", exits=(ended,)),
        replace(base, stop_seen=True),
        replace(base, buried=True),
        replace(base, next_revision=3, current=REV2, previous=replace(REV1, ready=True), launched=launched(2)),
        replace(base, next_revision=3, current=REV2, previous=replace(REV1, ready=True), exits=(replace(ended, revision=2),)),
        replace(base, next_revision=3, current=REV1, failed_hash="h2", failed_reason="exit 1"),
    ]


def worlds() -> list[tuple[Memory, Seen]]:
    found = []
    for mem, task in product(memories(), TASKS):
        number = mem.current.number if mem.current else 1
        exit = Exit(1, WALL) if task == "STOPPED" else None
        found.append((mem, Seen((instance(number, task, exit),), leftovers=True)))
    found += [(mem, Seen(leftovers=True)) for mem in memories()]
    found += [(mem, Seen((instance(1, None), instance(2, "RUNNING")))) for mem in memories()]
    return found


@pytest.mark.parametrize("want", DECLARED)
def test_it_converges_and_then_acts_no_more(want: Desired) -> None:
    for mem, seen in worlds():
        steps, last = foresee(situation(want, seen, mem))
        assert len(steps) < MOST_STEPS, (mem, seen, steps[-4:])
        s = situation(want, seen, mem)
        for step in steps:
            s = after(s, step)
        if not last.steps:
            assert decide(s).steps == ()


@pytest.mark.parametrize("want", DECLARED)
def test_it_names_only_what_carries_its_uid(want: Desired) -> None:
    for mem, seen in worlds():
        for step in foresee(situation(want, seen, mem))[0]:
            id = getattr(step, "id", "")
            assert not id or id.startswith(UID.replace("-", "") + "-")


@pytest.mark.parametrize("want", DECLARED)
def test_nothing_is_deleted_that_was_not_looked_at_and_no_exit_is_lost(want: Desired) -> None:
    for mem, seen in worlds():
        s = situation(want, seen, mem)
        for _ in range(MOST_STEPS):
            plan = decide(s)
            if not plan.steps:
                break
            for step in plan.steps:
                if isinstance(step, Remove):
                    assert all(i.task not in LIVE for i in s.seen.instances if i.id == step.id)
                if isinstance(step, Reap):
                    here = next(i for i in s.seen.instances if i.id == step.id)
                    mine = s.mem.launched is not None and s.mem.launched.revision == here.revision
                    assert not (mine and here.task == "STOPPED"), "the exit is recorded before its shim is deleted"
                s = after(s, step)
            if any(isinstance(step, (Finish, Delete, Recall)) for step in plan.steps):
                break


@pytest.mark.parametrize("want", DECLARED)
def test_an_intent_is_durable_before_its_launch_and_a_record_before_its_task(want: Desired) -> None:
    for mem, seen in worlds():
        s = situation(want, seen, mem)
        for step in foresee(s)[0]:
            if isinstance(step, Create):
                assert s.mem.current is not None
                assert s.mem.current.number == step.revision
            if isinstance(step, Launch):
                assert s.mem.launched is not None
                assert s.seen.instance(step.revision) is not None
            s = after(s, step)


@pytest.mark.parametrize("want", DECLARED)
def test_a_stale_view_or_a_hold_changes_nothing(want: Desired) -> None:
    for mem, seen in worlds():
        assert decide(situation(want, replace(seen, fresh=False), mem)).steps == ()
        assert decide(situation(replace(want, held=True), seen, mem)).steps == ()


@pytest.mark.parametrize("mem", memories())
def test_memory_survives_the_ledger(mem: Memory) -> None:
    import json

    assert load(json.loads(json.dumps(dump(mem)))) == mem


def test_a_running_container_as_declared_is_left_alone() -> None:
    mem = Memory(UID, "default", "web", next_revision=2, launches=1, current=REV1, launched=launched())
    assert decide(situation(WANT, Seen((instance(1),)), mem)) == Plan(rule="settled")


def test_remember_comes_first_in_every_plan_that_changes_the_node() -> None:
    plan = decide(situation(WANT, Seen(ready=True, resolution=None), Memory(UID)))
    assert not any(isinstance(step, Remember) for step in plan.steps), "nothing is intended before the image is known"
