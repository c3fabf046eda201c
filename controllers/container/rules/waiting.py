"""Between two runs: the delay of the back-off, or the end."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.model import LIVE, Delete, Plan, Remember, Situation
from controllers.container.restarting import runs_again
from controllers.container.rules.stopping import restart_asked


def waiting(s: Situation) -> Plan | None:
    """Between two runs: the delay of the back-off, or nothing more to run."""
    if any(i.task in LIVE for i in s.seen.instances):
        return None
    if restart_asked(s) and (s.mem.finished or s.mem.next_start):
        return Plan((Remember(replace(s.mem, finished=False, failures=0, last_delay_s=0.0, next_start=None, restart_count=0)),))
    if s.mem.finished and _wanted_again(s):
        return Plan((Remember(replace(s.mem, finished=False)),))
    if s.mem.finished:
        return Plan((Delete(),)) if s.want.auto_remove else Plan()
    if s.mem.next_start is not None:
        left = s.now.until(s.mem.next_start)
        if left > 0:
            return Plan(after=left)
    return None


def _wanted_again(s: Situation) -> bool:
    """The policy was changed since the end of the last run, and would have run it again."""
    last = s.mem.last_exit
    return last is not None and not last.requested and runs_again(s.want.restart, last, s.mem.restart_count)
