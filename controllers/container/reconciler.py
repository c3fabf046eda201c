"""Drives one Container to what is declared: observe, decide, act, and again until nothing is left to do but wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from controllers.container.act import Actor, Pass, Throttled
from controllers.container.bundle import Ports
from controllers.container.decide import decide
from controllers.container.declare import declare
from controllers.container.memory import Memory, remembered
from controllers.container.model import Delete, Desired, Plan, Remember, Resolve, Situation, Step, Waiting
from controllers.container.observe import Observer
from controllers.container.ports import StartFailed
from controllers.container.preparing import Missing
from controllers.container.restarting import record_start_failure
from controllers.container.status import Report, difference, status_of
from controllers.engine.instants import Instant, read
from controllers.engine.ports import Clock
from controllers.engine.result import DONE, Result
from state.clock import rfc3339_micro
from state.errors import Conflict, Denied, Invalid, NotFound, StateError
from state.objects import Key, Object
from state.store import Preconditions

MOST_ROUNDS = 24
"""Rounds of one pass; a plan that needs more is a rule that never rests, and starts over behind the others."""
WAIT_S = 1.0
"""How often a missing thing is looked for that nothing announces; its arrival is acted upon within 2 s."""
MANAGER = "setpoint-agent"


class ContainerReconciler:
    """Level-based: told a key, never an event."""

    kind = "Container"

    def __init__(self, ports: Ports, observer: Observer, actor: Actor, clock: Clock) -> None:
        self._ports, self._observer, self._actor, self._clock = ports, observer, actor, clock
        self.halting = False
        """Set before the host goes down: from then on what runs is stopped and nothing starts."""
        self._hashes: dict[Key, tuple[str, tuple[str, str]]] = {}
        """Key -> resourceVersion and the hashes of the spec it had: at a resync nothing has changed."""

    async def reconcile(self, key: Key) -> Result:
        try:
            stored = await self._ports.store.get(key)
        except NotFound:
            self._hashes.pop(key, None)
            return DONE  # what it may have left is the business of the sweep
        want = replace(self._declare(key, stored.object), halting=self.halting)
        work = Pass(want, remembered(self._ports.ledger, want.uid))
        try:
            plan = await self._converge(work)
        except StateError as error:
            await self._report(work, Plan(), error)
            raise
        if not work.over:
            await self._report(work, plan)
            await self._delete_last(work, plan)
        return Result(None if plan.after is None else timedelta(seconds=plan.after))

    def _declare(self, key: Key, obj: Object) -> Desired:
        version = obj["metadata"]["resourceVersion"]
        known, hashes = self._hashes.get(key, ("", None))
        want = declare(obj, self._clock.now(), hashes if known == version else None)
        self._hashes[key] = version, (want.hash, want.live)
        return want

    async def _converge(self, work: Pass) -> Plan:
        """Rounds of observe, decide and act; the plan that has no step left."""
        for _ in range(MOST_ROUNDS):
            work.seen = await self._observer.observe(work.want, work.seen)
            plan = decide(self._situation(work))
            if not plan.steps or any(isinstance(step, Delete) for step in plan.steps):
                return _blocked(plan, work.seen.blocked)
            waits = await self._act(work, plan)
            if waits is not None or work.over:
                return waits or Plan()
        return Plan(after=0.0)

    async def _act(self, work: Pass, plan: Plan) -> Plan | None:
        """All steps in order. A plan comes back when something is missing and the pass must wait for it."""
        for step in plan.steps:
            try:
                await self._actor.act(work, step)
            except Missing as missing:
                if _may_go_on(work, step):
                    work.seen = replace(work.seen, blocked=missing.waiting)
                    return None
                return Plan(after=WAIT_S, waits=missing.waiting, rule="waiting")
            except Throttled as throttled:
                told = Waiting("StartBudget", "the node's start budget is used up: it starts when there is room")
                return Plan(after=throttled.wait_s, waits=told)
            except StartFailed as failed:
                return await self._start_failed(work, failed)
        return None

    async def _start_failed(self, work: Pass, failed: StartFailed) -> Plan | None:
        """A missing thing is waited for; else it is an exit like any other, with the code that users know."""
        if failed.missing:
            await self._undo_intent(work)
            return Plan(after=WAIT_S, waits=Waiting("StartFailed", f"{failed.missing} is missing: {failed.message}"))
        mem = record_start_failure(work.want, work.mem, failed.code, failed.message, read(self._clock), self._wall())
        await self._remember(work, mem)
        self._ports.recorder.record(work.want.key, work.want.uid, "StartFailed", failed.message, warning=True)
        return None

    async def _undo_intent(self, work: Pass) -> None:
        """The launch did not come to be. Kept in memory of this pass only when the ledger already says so."""
        launched = work.mem.launched
        if launched is not None:
            next_start = work.mem.next_start or (launched.instant if work.mem.restart_count else None)
            await self._remember(work, replace(work.mem, launched=None, launches=work.mem.launches - 1, next_start=next_start))

    async def _delete_last(self, work: Pass, plan: Plan) -> None:
        """autoRemove: after the status was written, so that who watches learns how it ended."""
        for step in plan.steps:
            await self._actor.act(work, step)

    async def _report(self, work: Pass, plan: Plan, error: StateError | None = None) -> None:
        trouble, refused = (error.message, isinstance(error, (Invalid, Denied))) if error else ("", False)
        report = Report(work.want, work.seen, work.mem, plan, read(self._clock), self._clock.now(), trouble, refused)
        status = status_of(report)
        if status == work.want.status:
            return
        try:
            await self._ports.store.patch(
                work.want.key,
                {"status": difference(work.want.status, status)},
                manager=MANAGER,
                subresource="status",
                preconditions=Preconditions(uid=work.want.uid),
            )
        except (NotFound, Conflict):
            return  # gone, or another object by that name: the watch has told us already
        work.want = replace(work.want, status=status)

    def _situation(self, work: Pass) -> Situation:
        return Situation(work.want, work.seen, work.mem, self._now(), self._wall())

    async def _remember(self, work: Pass, mem: Memory) -> None:
        await self._actor.act(work, Remember(mem))

    def _now(self) -> Instant:
        return read(self._clock)

    def _wall(self) -> str:
        return rfc3339_micro(self._clock.now())


def _may_go_on(work: Pass, step: Step) -> bool:
    """What lacks something is the next revision; the present one can be kept meanwhile."""
    current = work.mem.current
    return isinstance(step, Resolve) and current is not None and current.hash != work.want.hash and not work.seen.blocked


def _blocked(plan: Plan, waiting: Waiting | None) -> Plan:
    """The plan, and what the next revision waits for."""
    if waiting is None:
        return plan
    after = WAIT_S if plan.after is None else min(plan.after, WAIT_S)
    return replace(plan, after=after, waits=plan.waits or waiting)
