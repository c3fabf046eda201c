"""Exits: what ended is recorded before anything else happens to it."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.model import LIVE, Plan, Reap, Remember, Situation, Step
from controllers.container.ports import Instance
from controllers.container.restarting import record_exit, seconds_between


def collecting(s: Situation) -> Plan | None:
    """An exit is recorded before its shim is deleted; a vanished task is recorded as unknown; a half-made one is undone."""
    for instance in s.seen.instances:
        if instance.task == "STOPPED":
            return Plan(_collect(s, instance))
        if instance.task in ("CREATED", "UNKNOWN"):
            return Plan((Reap(instance.id, force=True),))
    return _vanished(s)


def _collect(s: Situation, instance: Instance) -> tuple[Step, ...]:
    launched = s.mem.launched
    if launched is None or launched.revision != instance.revision:
        return (Reap(instance.id),)
    return (Remember(record_exit(s.want, s.mem, instance.exit, s.now, s.wall)), Reap(instance.id))


def _vanished(s: Situation) -> Plan | None:
    launched = s.mem.launched
    if launched is None:
        return None
    instance = s.seen.instance(launched.revision)
    if instance is not None and instance.task in LIVE:
        return None
    seen_running = _was_seen_running(s)
    told = instance.exit if instance else None
    if told is not None and not seen_running and seconds_between(launched.at, told.at) <= 0:
        told = None  # of the run before: this one was never heard of
    if told is None and not seen_running:
        # We died between the intent and the task: it never was, so it is no exit.
        return Plan((Remember(replace(s.mem, launched=None, stopping=None, launches=s.mem.launches - 1)),))
    return Plan((Remember(record_exit(s.want, s.mem, told, s.now, s.wall)),))


def _was_seen_running(s: Situation) -> bool:
    """The status that was shown for this very launch: written after the task ran, in a commit that was made anyway."""
    assert s.mem.launched is not None
    return s.want.status.get("startedAt") == s.mem.launched.at
