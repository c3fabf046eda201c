"""Starts: what is missing is made and launched."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.memory import Launched, Memory, Revision
from controllers.container.model import LIVE, Admit, Create, Launch, Plan, Remember, Resolve, Situation, Step
from controllers.container.rules.replacing import next_revision
from controllers.container.rules.stopping import restart_asked


def running(s: Situation) -> Plan | None:
    """Declared to run, and it does not: make what is missing and launch it. The intent is durable before the task is."""
    if any(i.task in LIVE for i in s.seen.instances):
        return None
    current = s.mem.current
    make = current is None or s.current is None or (current.hash == s.want.hash and current.refs != s.seen.env_refs)
    if s.seen.blocked is not None and not make:
        pass  # its record has all that it was made with; what is declared now belongs to the next
    elif not s.seen.ready or (make and s.seen.resolution is None):
        return Plan((Resolve(image=make),))
    if current is None:
        planned = next_revision(s)
        current = planned.current
        assert current is not None
        return Plan((Remember(intend(s, planned, _as_made(s, current))), Create(current.number), Launch(current.number)))
    restart = s.mem.next_start is not None
    steps: tuple[Step, ...] = (Admit(),) if restart else ()
    steps += (Remember(intend(s, s.mem, _as_made(s, current) if make else current)),)
    if make:
        steps += (Create(current.number),)
    return Plan((*steps, Launch(current.number, restart)))


def _as_made(s: Situation, revision: Revision) -> Revision:
    """The record is made, or brought up to date: with what is declared and referred to now."""
    return replace(revision, refs=s.seen.env_refs, live=s.want.live)


def intend(s: Situation, mem: Memory, revision: Revision) -> Memory:
    """The memory of a launch that is about to happen."""
    number = mem.launches + 1
    if restart_asked(s):
        mem = replace(mem, restart_count=0, failures=0, last_delay_s=0.0)
    return replace(
        mem,
        current=revision,
        stopping=None,
        namespace=s.want.key.namespace,
        name=s.want.key.name,
        launches=number,
        launched=Launched(revision.number, number, s.wall, s.now, live=revision.live, refs=s.seen.env_refs),
        restarted_at=s.want.restarted_at,
        next_start=None,
        stop_seen=False,
        finished=False,
    )
