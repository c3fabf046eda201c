"""Replacement: another revision, its trial, and the way back."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.memory import Memory, Revision
from controllers.container.model import LIVE, Plan, Remember, Remove, Resolve, Situation
from controllers.container.rules.stopping import stop


def replacing(s: Situation) -> Plan | None:
    """StopFirst: fetch and verify while the old one runs, stop it, keep its record; the new one becomes Ready or the old one
    is put back. A declaration that failed is not tried again until it changes."""
    current = s.mem.current
    if current is None:
        return None
    if current.hash != s.want.hash:
        return _begin(s, current)
    if s.mem.failed_hash and s.mem.failed_hash != s.want.hash:
        return Plan((Remember(replace(s.mem, failed_hash="", failed_reason="")),))
    if s.mem.previous is not None:
        return judge(s)
    return _sweep(s, current)


def _begin(s: Situation, current: Revision) -> Plan | None:
    if s.mem.failed_hash == s.want.hash:
        return _sweep(s, current)  # it had its chance; what was put back goes on
    if s.seen.blocked is not None:
        return None  # it cannot be made yet: the present one is kept running
    if s.seen.resolution is None:
        return Plan((Resolve(),))
    live = next((i for i in s.seen.instances if i.task in LIVE), None)
    if live is not None:
        return stop(s, "replaced")
    return Plan((Remember(next_revision(s)),))


def next_revision(s: Situation) -> Memory:
    """The memory with a new current revision; the one that it replaces is kept if it has ever been Ready."""
    mem, resolution = s.mem, s.seen.resolution
    assert resolution is not None
    back = mem.previous if mem.previous and mem.previous.hash == s.want.hash else None
    new = back or Revision(
        mem.next_revision,
        s.want.hash,
        s.want.generation,
        resolution.reference,
        resolution.digest,
        s.want.live,
        resolution.stop_signal,
        since=s.now,
        writable=s.want.writable or resolution.volumes,
        stale=resolution.stale,
    )
    former = mem.current if mem.current and mem.current.ready else mem.previous
    return replace(
        mem,
        current=replace(new, since=s.now, ready=False),
        previous=former if former and former.number != new.number else None,
        next_revision=max(mem.next_revision, new.number + 1),
        finished=False,
        failures=0,
        last_delay_s=0.0,
        next_start=None,
        restart_count=0,
        crashes=(),
        failed_hash="",
        failed_reason="",
    )


def judge(s: Situation) -> Plan | None:
    """The new one is on trial while the old one is kept."""
    current, previous = s.mem.current, s.mem.previous
    if current is None or previous is None or current.hash != s.want.hash or s.want.run_state == "Stopped":
        return None
    if current.since is None or current.since.boot != s.now.boot:
        # The host went down in the middle: the time that it was off is not held against it.
        return Plan((Remember(replace(s.mem, current=replace(current, since=s.now))),))
    trouble = _trouble(s, current)
    if trouble:
        return _put_back(s, current, previous, trouble)
    instance = s.seen.instance(current.number)
    launched = s.mem.launched
    if instance is None or instance.task not in LIVE or launched is None:
        return None
    ran = s.now.since(launched.instant) or 0.0
    if ran < s.want.min_ready_s:
        return Plan(after=s.want.min_ready_s - ran)
    return Plan((Remember(replace(s.mem, current=replace(current, ready=True), previous=None)),))


def _trouble(s: Situation, current: Revision) -> str:
    last = s.mem.last_exit
    if s.mem.launched is None and last is not None and last.revision == current.number and not last.requested:
        code = "" if last.code is None else f" (exit code {last.code})"
        return f"revision {current.number} ended before it was Ready: {last.message or last.reason}{code}"
    if current.since is not None and (s.now.since(current.since) or 0.0) >= s.want.progress_deadline_s:
        return f"revision {current.number} was not Ready within {s.want.progress_deadline_s:g} s"
    return ""


def _put_back(s: Situation, current: Revision, previous: Revision, trouble: str) -> Plan | None:
    if s.mem.failed_hash == s.want.hash:
        return None  # judged before, and it could not be undone: it goes on by its policy
    if current.writable and _has_run(s, current):
        kept = f"{trouble}; it ran with something writable mounted, so the former revision is kept for you to choose"
        return Plan((Remember(replace(s.mem, failed_hash=s.want.hash, failed_reason=kept)),))
    if any(i.task in LIVE for i in s.seen.instances):
        return stop(s, "not Ready in time")
    restored = replace(
        s.mem,
        current=replace(previous, since=s.now),
        previous=None,
        failed_hash=s.want.hash,
        failed_reason=trouble,
        finished=False,
        quarantined="",
        failures=0,
        next_start=None,
        restart_count=0,
    )
    return Plan((Remember(restored),))


def _has_run(s: Situation, revision: Revision) -> bool:
    """A process of it came to be: what it did to files that outlive it cannot be taken back."""
    if s.mem.launched is not None and s.mem.launched.revision == revision.number:
        return True
    return any(e.revision == revision.number and e.reason != "StartError" for e in s.mem.exits)


def _sweep(s: Situation, current: Revision) -> Plan | None:
    """Records of ours that no revision speaks for: a failed replacement, or one that is done."""
    stale = tuple(Remove(i.id) for i in s.seen.instances if i.revision != current.number and i.task not in LIVE)
    return Plan(stale) if stale else None
