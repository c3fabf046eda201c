"""Drift: what runs is brought to what is declared, as far as that goes without a new start."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.model import LIVE, Plan, Refresh, Remember, Situation, Update
from controllers.container.rules.running import intend


def repairing(s: Situation) -> Plan | None:
    """What can change live is changed live: limits of the task, files from ConfigMaps and Secrets."""
    current, launched = s.current, s.mem.launched
    if current is None or current.task not in LIVE or s.mem.current is None:
        return None
    if launched is None:
        # It came to be after it was given up: a launch in doubt that arrived late. It is what was wanted.
        return Plan((Remember(intend(s, s.mem, s.mem.current)),))
    if s.seen.blocked is not None:
        return None  # what is declared now belongs to the next revision
    if launched.live != s.want.live:
        known = replace(s.mem, launched=replace(launched, live=s.want.live))
        return Plan((Update(current.id), Remember(known)))
    if s.seen.stale_refs:
        return Plan((Refresh(),))
    if not s.mem.current.ready:
        return _become_ready(s)
    return None


def _become_ready(s: Situation) -> Plan | None:
    launched = s.mem.launched
    assert launched is not None
    left = s.want.min_ready_s - (s.now.since(launched.instant) or 0.0)
    return Plan(after=left) if left > 0 else None
