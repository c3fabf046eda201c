"""Blindness and hold: when nothing may be concluded or touched."""

from __future__ import annotations

from controllers.container.model import Plan, Recall, Situation, Waiting


def unseen(s: Situation) -> Plan | None:
    """Without a fresh view of containerd, or on hold, the loop looks and tells, and touches nothing."""
    if not s.seen.fresh:
        return Plan(waits=Waiting("RuntimeUnavailable", "containerd does not answer; what runs goes on running"))
    if s.want.held:
        return Plan(after=s.want.hold_left_s)
    if s.mem.next_revision == 1 and s.seen.instances:
        return Plan((Recall(s.now, s.wall),))
    return None
