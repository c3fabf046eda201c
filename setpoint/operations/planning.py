"""``setpoint plan``: what the loop's own ``decide`` would do, with no handle able to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controllers.container.bundle import Ports
from controllers.container.declare import declare
from controllers.container.foresee import foresee, sentences
from controllers.container.memory import Memory, remembered
from controllers.container.model import Desired, Plan, Seen, Situation
from controllers.container.ports import Instance
from controllers.container.preparing import Missing, check
from controllers.container.view import RuntimeView
from controllers.engine.instants import Instant, read
from controllers.engine.ports import Clock
from setpoint.api.operations import ObjectPlan
from state.clock import rfc3339_micro
from state.errors import NotFound, StateError
from state.objects import Key, Object, key_of


class Planner:
    """Plans for objects as they would be stored (a dry-run apply's answer)."""

    def __init__(self, ports: Ports, view: RuntimeView, clock: Clock) -> None:
        self._ports, self._view, self._clock = ports, view, clock

    async def plan(self, objects: Sequence[Object]) -> Sequence[ObjectPlan]:
        return [await self._one(obj) for obj in objects]

    async def _one(self, obj: Object) -> ObjectPlan:
        key = key_of(obj)
        if key.kind != "Container":
            return ObjectPlan(key.kind, key.namespace, key.name)
        uid = await self._uid(key, obj)
        now = self._clock.now()
        want = declare({**obj, "metadata": {**obj["metadata"], "uid": uid}}, now)
        mem = remembered(self._ports.ledger, uid)
        steps, plan = actions(want, self._view.of(uid), mem, read(self._clock), rfc3339_micro(now), self._view.fresh)
        replaces = mem.current is not None and any(step["do"] == "Create" for step in steps)
        waits = plan.waits.message if plan.waits else await self._missing(want, steps)
        return ObjectPlan(key.kind, key.namespace, key.name, tuple(steps), replaces, waits)

    async def _uid(self, key: Key, obj: Object) -> str:
        try:
            return (await self._ports.store.get(key)).uid
        except NotFound:
            return str(obj["metadata"].get("uid") or "00000000-0000-0000-0000-000000000000")

    async def _missing(self, want: Desired, steps: Sequence[Object]) -> str:
        if not any(step["do"] == "Launch" for step in steps):
            return ""
        try:
            await check(self._ports, want, image=any(step["do"] == "Create" for step in steps), look_only=True)
        except Missing as missing:
            return missing.waiting.message
        except StateError as error:
            return error.message
        return ""


def actions(
    want: Desired, instances: Sequence[Instance], mem: Memory, now: Instant, wall: str, fresh: bool
) -> tuple[list[Object], Plan]:
    """The foreseen steps as ``{"do", "text"}`` rows, and the plan that ends them."""
    seen = Seen(tuple(instances), fresh=fresh, leftovers=want.deleting)
    if mem.launched is not None:
        seen = replace(seen, env_refs=mem.launched.refs)
    steps, plan = foresee(Situation(want, seen, mem, now, wall))
    return [{"do": name, "text": text} for name, text in sentences(steps)], plan
