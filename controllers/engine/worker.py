"""One pass over one key: what is running, and what its end means."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from controllers.engine.result import Reconciler, Result
from state.errors import Busy, Denied, InDoubt, Invalid
from state.objects import Key

Outcome = Literal["done", "again", "later", "refused", "failed", "in-doubt", "stopped"]


@dataclass(frozen=True, slots=True)
class PassId:
    """Which pass the running code belongs to; the log binds it to every line."""

    key: Key
    number: int


current_pass: ContextVar[PassId | None] = ContextVar("current_pass", default=None)
"""Set inside a pass and inside everything that it starts; None elsewhere."""


@dataclass(slots=True, eq=False)
class Pass:
    """A pass under way. ``deadline`` is an instant of ``Clock.monotonic``. ``overdue``: it lost its slot at the deadline, the
    call has not returned yet, and the key stays busy."""

    id: PassId
    task: asyncio.Task[Result]
    started: float
    deadline: float
    priority: int
    overdue: bool = False
    cancelled: bool = False

    @property
    def key(self) -> Key:
        return self.id.key


@dataclass(frozen=True, slots=True)
class End:
    """How a pass ended. ``after`` with ``again`` and ``later``; ``at_least_s`` is what a Busy other side asked for."""

    outcome: Outcome
    after: timedelta | None = None
    error: BaseException | None = None
    at_least_s: float = 0.0


async def run_pass(reconciler: Reconciler, id: PassId) -> Result:
    """The body of a pass's task."""
    current_pass.set(id)
    return await reconciler.reconcile(id.key)


def end_of(finished: Pass) -> End:
    """Reads the finished task: the one switch over results and errors. The task's exception counts as seen."""
    task = finished.task
    if task.cancelled():
        if finished.cancelled:
            return End("stopped")
        # Nobody here cancelled it: something inside did, and let it out. A failure like any other.
        return End("failed", error=asyncio.CancelledError("the pass was cancelled from within"))
    error = task.exception()
    if error is not None:
        return _failed(error)
    after = task.result().after
    if after is None:
        return End("done")
    return End("again", timedelta(0)) if after <= timedelta(0) else End("later", after)


def _failed(error: BaseException) -> End:
    if isinstance(error, (Invalid, Denied)):
        return End("refused", error=error)
    if isinstance(error, InDoubt):
        return End("in-doubt", error=error)
    if isinstance(error, Busy):
        return End("failed", error=error, at_least_s=float(error.retry_after_s))
    return End("failed", error=error)
