"""The one decision about a Container: the first answer of an ordered tuple of rules. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from controllers.container.model import Plan, Situation
from controllers.container.rules.collecting import collecting
from controllers.container.rules.pausing import pausing
from controllers.container.rules.quarantined import quarantined
from controllers.container.rules.removing import removing
from controllers.container.rules.repairing import repairing
from controllers.container.rules.replacing import replacing
from controllers.container.rules.running import running
from controllers.container.rules.stopping import stopping
from controllers.container.rules.unseen import unseen
from controllers.container.rules.waiting import waiting

Rule = Callable[[Situation], Plan | None]

RULES: tuple[Rule, ...] = (
    unseen,  # nothing is concluded from what cannot be seen, and a held object is left alone
    collecting,  # an exit is kept before anything else happens to its task
    removing,
    stopping,  # a stop under way is finished; what may not run is stopped
    quarantined,
    replacing,  # another revision is declared
    waiting,  # the back-off, or the end of a run
    running,  # make, launch
    pausing,
    repairing,  # live fields and files of what runs
)


def decide(situation: Situation) -> Plan:
    """What to do next for one Container. Never names what does not carry its uid; the same input gives the same plan."""
    for rule in RULES:
        plan = rule(situation)
        if plan is not None:
            return replace(plan, rule=rule.__name__)
    return Plan(rule="settled")
