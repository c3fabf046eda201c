"""Quarantine: what crashes too often rests until it is told to try again."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.memory import Memory
from controllers.container.model import Plan, Remember, Situation, Waiting
from controllers.container.rules.replacing import judge


def quarantined(s: Situation) -> Plan | None:
    """Too many crashes within the budget: it rests, visibly, until ``setpoint retry``."""
    if s.want.retried_at and s.want.retried_at != s.mem.retried_at:
        return Plan((Remember(release(s)),))
    if s.mem.quarantined:
        judged = judge(s)
        if judged is not None:
            return judged  # a new revision that crashed too often on trial gives way to the one before
        return Plan(waits=Waiting("Quarantined", f"{s.mem.quarantined}; setpoint retry {s.want.key.name} releases it"))
    return None


def release(s: Situation) -> Memory:
    """The memory after ``setpoint retry``: everything gets another chance."""
    return replace(
        s.mem,
        retried_at=s.want.retried_at,
        quarantined="",
        crashes=(),
        failures=0,
        last_delay_s=0.0,
        next_start=None,
        finished=False if s.mem.quarantined else s.mem.finished,
        failed_hash="",
        failed_reason="",
    )
