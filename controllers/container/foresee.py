"""What the loop would do, step by step, if every step went well: the same ``decide``, over a pure model of the steps.

``setpoint plan`` prints it; the law tests run it. It has no handle able to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from controllers.container.decide import decide
from controllers.container.model import (
    Admit,
    Create,
    Delete,
    Finish,
    Launch,
    Pause,
    Plan,
    Reap,
    Recall,
    Refresh,
    Release,
    Remember,
    Remove,
    Resolution,
    Resolve,
    Resume,
    Signal,
    Situation,
    Step,
    Update,
)
from controllers.container.ports import Exit, Instance, TaskState

MOST_STEPS = 60
"""More than any plan needs; reached only by a rule that never comes to rest."""


def foresee(situation: Situation) -> tuple[tuple[Step, ...], Plan]:
    """All steps up to the point where nothing is left to do but wait, and the last plan, which says what for."""
    steps: list[Step] = []
    s = situation
    while len(steps) < MOST_STEPS:
        plan = decide(s)
        if not plan.steps or _ends(plan):
            return (*steps, *plan.steps), plan
        for step in plan.steps:
            steps.append(step)
            s = after(s, step)
    return tuple(steps), plan


def _ends(plan: Plan) -> bool:
    return any(isinstance(step, (Finish, Delete, Recall)) for step in plan.steps)


def after(s: Situation, step: Step) -> Situation:
    """The situation once this step went well; a process that is signalled ends at once with 0."""
    match step:
        case Remember(memory=memory):
            return replace(s, mem=memory)
        case Resolve(image=image):
            found = Resolution(s.want.image, "sha256:foreseen") if image else s.seen.resolution
            return replace(s, seen=replace(s.seen, ready=True, resolution=found))
        case Create(revision=number):
            fresh = Instance(s.want.id(number), s.want.uid, number, s.want.key.namespace, s.want.key.name)
            return _with(s, number, fresh)
        case Launch(revision=number):
            return _task(s, s.want.id(number), "RUNNING")
        case Signal(id=id, resume=_):
            return _task(s, id, "STOPPED", Exit(0, s.wall))
        case Reap(id=id):
            return _task(s, id, None)
        case Pause(id=id):
            return _task(s, id, "PAUSED")
        case Resume(id=id):
            return _task(s, id, "RUNNING")
        case Remove(id=id):
            kept = tuple(i for i in s.seen.instances if i.id != id)
            return replace(s, seen=replace(s.seen, instances=kept))
        case Refresh():
            return replace(s, seen=replace(s.seen, stale_refs=False))
        case Release():
            return replace(s, seen=replace(s.seen, leftovers=False))
        case Update() | Recall() | Delete() | Finish() | Admit():
            return s


def _with(s: Situation, revision: int, instance: Instance) -> Situation:
    others = tuple(i for i in s.seen.instances if i.revision != revision)
    ordered = tuple(sorted((*others, instance), key=lambda i: i.revision))
    return replace(s, seen=replace(s.seen, instances=ordered))


def _task(s: Situation, id: str, state: TaskState | None, exit: Exit | None = None) -> Situation:
    changed = tuple(replace(i, task=state, exit=exit) if i.id == id else i for i in s.seen.instances)
    return replace(s, seen=replace(s.seen, instances=changed))


def sentences(steps: tuple[Step, ...]) -> Iterator[tuple[str, str]]:
    """(name of the step, what it means to a person) for those that change something."""
    for step in steps:
        text = _sentence(step)
        if text:
            yield type(step).__name__, text


def _sentence(step: Step) -> str:
    match step:
        case Create(revision=number):
            return f"make revision {number} (record and a fresh writable layer)"
        case Launch(revision=number):
            return f"start revision {number}"
        case Signal(signal=signal, id=id):
            return f"send {signal} to {id}"
        case Reap(id=id):
            return f"collect the exit of {id}"
        case Remove(id=id):
            return f"remove {id} and its writable layer"
        case Pause(id=id):
            return f"freeze {id}"
        case Resume(id=id):
            return f"thaw {id}"
        case Update(id=id):
            return f"change the limits of {id} without a restart"
        case Refresh():
            return "bring files from ConfigMaps and Secrets up to date"
        case Release():
            return "release sandbox, files and logs"
        case Delete():
            return "delete the object (autoRemove)"
        case Finish():
            return "release the finalizer"
        case Recall():
            return "read the memory back from the node's records"
        case Remember() | Resolve() | Admit():
            return ""
