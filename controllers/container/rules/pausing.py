"""Paused: frozen while declared so."""

from __future__ import annotations

from controllers.container.model import Pause, Plan, Resume, Situation


def pausing(s: Situation) -> Plan | None:
    """Paused is declared or it is not; whoever froze or thawed it otherwise is corrected."""
    current = s.current
    if current is None:
        return None
    if s.want.run_state == "Paused" and current.task == "RUNNING":
        return Plan((Pause(current.id),))
    if s.want.run_state == "Running" and current.task in ("PAUSED", "PAUSING"):
        return Plan((Resume(current.id),))
    return None
