"""Deletion: everything of the uid goes, the finalizer last."""

from __future__ import annotations

from dataclasses import replace

from controllers.container.model import LIVE, Finish, Plan, Release, Remember, Remove, Situation
from controllers.container.rules.stopping import stop


def removing(s: Situation) -> Plan | None:
    """Deletion: stop with the options of the request, then records, sandbox, files, logs, and last the finalizer."""
    if not s.want.deleting:
        return None
    if not s.mem.buried:
        # The tombstone comes first: only what has one may be swept, whatever becomes of us.
        return Plan((Remember(replace(s.mem, buried=True, next_start=None), bury=True),))
    if any(i.task in LIVE for i in s.seen.instances):
        return stop(s, "deleted")
    if s.seen.instances:
        return Plan(tuple(Remove(i.id) for i in s.seen.instances))
    if s.seen.leftovers:
        return Plan((Release(),))
    return Plan((Finish(),))
