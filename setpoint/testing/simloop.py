"""A deterministic asyncio loop with virtual time.

Nothing here waits: when nothing is runnable, time jumps to the next timer, and when there is no timer either, that is a
``Deadlock``. Same program and same seed, same order of every callback, in any process. Two modes:

LEGAL    callbacks run in the order in which they became ready, as asyncio promises: every failure is a bug
HOSTILE  any ready callback may run next, drawn by the seed: a failure is a fragility to be judged

What breaks repeatability, and what happens: threads, executors, sockets and signals raise ``EscapedSimulation``; iteration over
sets of strings or of objects (``asyncio.wait`` answers in sets, a ``TaskGroup`` aborts in set order) is not found by the loop,
only by the trace hash, which then differs between processes.

A life that was killed (``setpoint.testing.life``) is frozen: none of its callbacks, timers and tasks runs again.

The loop leans on private names of ``asyncio.BaseEventLoop`` (``_run_once``, ``_ready``, ``_scheduled``), the same from Python
3.11 to 3.14; ``tests/simulation/test_simloop.py`` is the self test for each version.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import heapq
import random
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, NoReturn, TypeVar

from setpoint.testing.life import LIFE, Life

T = TypeVar("T")

STEP_LIMIT = 5_000_000
"""Callbacks in one run. Whoever needs more is livelocked."""

_COLLECT_EVERY = 100_000


class Mode(Enum):
    LEGAL = "legal"
    HOSTILE = "hostile"


class SimulationError(Exception):
    """Base of what the loop itself finds wrong with a run."""


class Deadlock(SimulationError):
    """Nothing is runnable, no timer is set, and the run is not over."""


class Livelock(SimulationError):
    """More steps, or more virtual time, than the run was given."""


class EscapedSimulation(SimulationError):
    """The code reached for a thread, a socket, a signal or another process."""


class Unobserved(SimulationError):
    """A task failed and nobody looked at its exception, or a callback raised."""


@dataclass(frozen=True, slots=True)
class Simulated(Generic[T]):
    """A finished run: its answer, the hash over every scheduling decision, callbacks run and virtual seconds passed."""

    value: T
    trace: str
    steps: int
    seconds: float


class SimLoop(asyncio.BaseEventLoop):
    """See the module. ``note`` mixes facts of the run (port calls, say) into the trace hash."""

    def __init__(
        self, seed: int = 0, mode: Mode = Mode.LEGAL, *, step_limit: int = STEP_LIMIT, time_limit: float | None = None
    ) -> None:
        super().__init__()
        self.mode = mode
        self.steps = 0
        self.failures: list[str] = []
        self.escapes: list[str] = []
        self._chance = random.Random(seed)
        self._now = 0.0
        self._step_limit = step_limit
        self._time_limit = time_limit
        self._trace = hashlib.blake2b(digest_size=16)
        # Strong on purpose: freeing a task that is not done would run the finally blocks that SIGKILL skips.
        self._made: dict[asyncio.Task[Any], Life | None] = {}
        self._prune_at = 1000
        self._task_count = 0
        self.set_exception_handler(self._on_failure)

    # Time and order.

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        """One callback. Replaces the base class's, which runs a whole batch and waits for the selector."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        self._move_due(ready)
        if not ready:
            self._jump()
            self._move_due(ready)
        if self.mode is Mode.HOSTILE and len(ready) > 1:
            index = self._chance.randrange(len(ready))
            ready.rotate(-index)
            handle = ready.popleft()
            ready.rotate(index)
        else:
            index, handle = 0, ready.popleft()
        self._trace.update(struct.pack("<IId", index, len(ready), self._now))
        self.steps += 1
        if self.steps > self._step_limit:
            raise Livelock(f"more than {self._step_limit} steps; {self._now:.3f} virtual s passed")
        if self.steps % _COLLECT_EVERY == 0:
            gc.collect()
        life = handle._context.get(LIFE)
        if not handle._cancelled and not (life and life.dead):
            handle._run()

    def _drop_cancelled(self) -> list[Any]:
        scheduled: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False
        return scheduled

    def _move_due(self, ready: Any) -> None:
        scheduled = self._drop_cancelled()
        while scheduled and scheduled[0]._when <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if handle._cancelled:
                self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            else:
                ready.append(handle)

    def _jump(self) -> None:
        scheduled = self._drop_cancelled()
        if not scheduled:
            raise Deadlock("nothing can run any more; waiting: " + "; ".join(self.waiting()))
        if self._time_limit is not None and scheduled[0]._when > self._time_limit:
            raise Livelock(f"not over after {self._time_limit} virtual s; waiting: " + "; ".join(self.waiting()))
        self._now = max(self._now, scheduled[0]._when)

    # Bookkeeping.

    def note(self, text: str) -> None:
        """Mixes a fact into the trace hash."""
        self._trace.update(text.encode())

    def trace(self) -> str:
        """The hash so far: equal traces are equal runs."""
        return self._trace.hexdigest()

    def waiting(self) -> list[str]:
        """The names of the tasks that are not done, sorted."""
        return sorted(task.get_name() for task in self._made if not task.done())

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        self._task_count += 1
        if kwargs.get("name") is None:  # asyncio numbers nameless tasks per process, we per run
            kwargs["name"] = f"task {self._task_count}"
        task: asyncio.Task[Any] = super().create_task(coro, **kwargs)
        context = kwargs.get("context")
        self._made[task] = LIFE.get() if context is None else context.get(LIFE)
        if len(self._made) > self._prune_at:
            self._made = {task: life for task, life in self._made.items() if not task.done() or _unseen(task)}
            self._prune_at = 2 * len(self._made) + 1000
        return task

    def unobserved(self) -> list[str]:
        """Every failure nobody looked at, as text, sorted. An abandoned task that is not done is none."""
        found = list(self.failures)
        for task, life in self._made.items():
            # Of the dead, whoever would have looked was killed too.
            if _unseen(task) and not (life and life.dead):
                found.append(f"{task.get_name()}: {task.exception()!r}")
        return sorted(found)

    def bury(self) -> None:
        """Ends every task that is not done without running it any further on this loop: a process that was killed."""
        for task in [t for t in self._made if not t.done()]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            # GeneratorExit does run finally blocks, up to their first await; nobody is there any more to see it.
            with suppress(BaseException):
                task.get_coro().close()

    def _on_failure(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context.get('message')}: {error!r}" if error else str(context.get("message")))

    # Ways out of the simulation; more of them below the class.

    def _escape(self, what: str) -> NoReturn:
        self.escapes.append(what)
        raise EscapedSimulation(what)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        # The hook for forgotten async generators comes this way on the loop's own thread; that is fine.
        if self._thread_id != threading.get_ident():  # type: ignore[attr-defined]
            self._escape("another thread called back")
        return self.call_soon(callback, *args, context=context)

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if self.is_running():
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _unseen(task: asyncio.Task[Any]) -> bool:
    """Failed, and nobody asked. ``_log_traceback`` is asyncio's own mark of that."""
    return task.done() and not task.cancelled() and bool(getattr(task, "_log_traceback", False))


_WAYS_OUT = (
    "run_in_executor",
    "add_signal_handler",
    "add_reader",
    "add_writer",
    "sock_recv",
    "sock_sendall",
    "sock_connect",
    "sock_accept",
    "getaddrinfo",
    "create_connection",
    "create_unix_connection",
    "create_server",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_exec",
    "subprocess_shell",
)
"""What of a loop reaches the real world: each escapes."""


def _closed(name: str) -> Callable[..., NoReturn]:
    def escape(self: SimLoop, *args: Any, **kwargs: Any) -> NoReturn:
        self._escape(f"loop.{name} was called")

    return escape


for _name in _WAYS_OUT:
    setattr(SimLoop, _name, _closed(_name))


def simulate(
    main: Callable[[], Coroutine[Any, Any, T]],
    seed: int = 0,
    mode: Mode = Mode.LEGAL,
    *,
    step_limit: int = STEP_LIMIT,
    time_limit: float | None = None,
) -> Simulated[T]:
    """Runs ``main()`` to its end on a loop of its own. Raises what it raises, else SimulationError when the loop itself found
    something: Deadlock, Livelock, EscapedSimulation (even if the code swallowed it), Unobserved. What still runs when ``main``
    returns is dropped, like the processes of a machine that is switched off. Raises RuntimeError inside a running loop."""
    loop = SimLoop(seed, mode, step_limit=step_limit, time_limit=time_limit)
    collecting = gc.isenabled()
    # Finalizers run when the collector pleases, which is not the seed's to choose.
    gc.disable()
    try:
        value = loop.run_until_complete(main())
        if loop.escapes:
            raise EscapedSimulation("; ".join(loop.escapes))
        if unobserved := loop.unobserved():
            raise Unobserved("; ".join(unobserved))
        return Simulated(value, loop.trace(), loop.steps, loop.time())
    finally:
        loop.bury()
        loop.close()
        if collecting:
            gc.enable()
