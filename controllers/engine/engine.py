"""The engine: keys in, passes out. See :class:`Engine`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from controllers.engine.alarm import Alarm
from controllers.engine.backoff import Failures
from controllers.engine.ports import Clock, Log, Meter, Random
from controllers.engine.queue import Queue
from controllers.engine.result import Reconciler, Result
from controllers.engine.resync import RESYNC_PRIORITY, Controller, Keys, Listed, Resync, spread_delays
from controllers.engine.settings import Settings
from controllers.engine.snapshot import KeyState, Outlook, Snapshot
from controllers.engine.worker import End, Pass, PassId, end_of, run_pass
from state.objects import Key

ZERO = timedelta(0)


class Silence:
    """A meter that nobody reads."""

    def passed(self, kind: str, outcome: str, seconds: float) -> None: ...

    def waited(self, kind: str, seconds: float) -> None: ...

    def resynced(self, kind: str, keys: int) -> None: ...


class Engine:
    """Runs the passes of several reconcilers, for keys of their kinds, in one asyncio task.

    A key is worked on by one pass at a time, and at most ``concurrency`` passes have a slot. What a pass answers:

    ======================  ==============================================================================
    ``Result()``            rest until an event or the resync
    ``Result(after=d)``     look again in ``d``; zero: at once, behind the others
    Invalid, Denied         reported; rest until an event or the resync
    any other error         reported; look again after the back-off, which grows until a pass succeeds
    over its deadline       the slot is given to others; the key stays busy until the call returns, then as an error
    ======================  ==============================================================================

    Idle costs nothing: the only timer is set to the next instant at which something is due.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        log: Log,
        meter: Meter | None = None,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=60),
        settings: Settings = Settings(),
    ) -> None:
        self._clock = clock
        self._random = random
        self._log = log
        self._meter: Meter = meter or Silence()
        self._settings = settings
        self._concurrency = concurrency
        self._deadline = deadline
        self._on_error: Callable[[Key, BaseException], None] | None = None
        self._controllers = Resync(clock, random, log, self._listed)
        self._queue: Queue[Key] = Queue(patience=settings.patience.total_seconds())
        self._failures: Failures[Key] = Failures(settings.backoff, random, floor=settings.floor)
        self._again: dict[Key, int] = {}
        self._passes: dict[Key, Pass] = {}
        self._wake = asyncio.Event()
        self._alarm = Alarm(clock, self._wake.set)
        self._numbers = 0
        self._boot_until: float | None = None
        self._was_booted = asyncio.Event()
        self._turned = asyncio.Event()
        self._paused = False
        self._stopping: timedelta | None = None
        self._running: asyncio.Event | None = None

    # Set-up and events.

    def add(
        self,
        reconciler: Reconciler,
        *,
        keys: Keys | None = None,
        resync: timedelta | None = None,
        deadline: timedelta | None = None,
    ) -> None:
        """One reconciler per kind. ``keys`` lists what there is, once at the start and then every ``resync``. ``deadline``:
        this kind's own. Raises ValueError for a second reconciler of a kind."""
        self._controllers.add(Controller(reconciler, keys, resync, self._deadline if deadline is None else deadline))
        self._wake.set()

    def on_error(self, call: Callable[[Key, BaseException], None]) -> None:
        """``call`` is told of every failed or refused pass, after the log."""
        self._on_error = call

    def enqueue(self, key: Key, after: timedelta = ZERO, priority: int = 0) -> None:
        """Something happened to the key: look at it, once, as soon as a slot is free. An event cuts a wait or a back-off short
        (a back-off only down to ``Settings.floor``). Raises KeyError for a kind without a reconciler."""
        self._controllers[key.kind]
        now = self._clock.monotonic()
        due = max(now + max(after, ZERO).total_seconds(), self._failures.floor(key))
        self._queue.add(key, now=now, due=due, priority=priority)
        self._wake.set()

    # Life.

    async def run(self) -> None:
        """Works until :meth:`stop` or cancellation. Once only."""
        if self._running is not None:
            raise RuntimeError("an engine runs once")
        self._running = asyncio.Event()
        self._boot_until = self._clock.monotonic() + self._deadline.total_seconds()
        try:
            while self._stopping is None:
                self._turn()
                await self._wake.wait()
                self._wake.clear()
            await self._drain(self._stopping)
        finally:
            try:
                await self._cancel_all()
            finally:
                self._alarm.cancel()
                self._running.set()

    async def stop(self, limit: timedelta = timedelta(seconds=10)) -> None:
        """Starts no more passes, waits for those under way, at most ``limit``, then cancels them. Returns when :meth:`run`
        does."""
        self._stopping = limit
        self._wake.set()
        if self._running is not None:
            await self._running.wait()

    def pause(self) -> None:
        """No pass starts until :meth:`resume`; those under way go on, events are kept."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake.set()

    # What others may know.

    @property
    def booted(self) -> bool:
        """Every controller listed its keys once, and each of them has had a pass (or hangs in one)."""
        return self._was_booted.is_set()

    async def until_booted(self) -> None:
        await self._was_booted.wait()

    def idle(self) -> bool:
        """Nothing runs and nothing is due now; keys may wait for their time."""
        now = self._clock.monotonic()
        listing = self._controllers.busy or any(due <= now for due in self._controllers.instants())
        return not (self._passes or listing or self._queue.has_due(now))

    async def until_idle(self) -> None:
        """Returns as soon as :meth:`idle` holds after a turn; for tests."""
        while not self.idle() or self._wake.is_set():
            self._turned.clear()
            await self._turned.wait()

    def outlook(self, key: Key) -> Outlook:
        """What is to be expected for one key."""
        now = self._clock.monotonic()
        failing = self._failures.get(key)
        failures, error = (failing.failures, failing.message) if failing else (0, "")
        entry = self._queue.get(key)
        wait = None if entry is None else timedelta(seconds=max(0.0, entry.due - now))
        running = self._passes.get(key)
        if running is not None:
            elapsed = timedelta(seconds=now - running.started)
            state: KeyState = "overdue" if running.overdue else "running"
            return Outlook(key, state, wait, elapsed, running.priority, failures, error)
        if entry is None:
            return Outlook(key, "idle", None, None, 0, failures, error)
        state = "queued" if entry.ready or entry.due <= now else "waiting"
        return Outlook(key, state, wait, None, entry.priority, failures, error)

    def snapshot(self) -> Snapshot:
        """Everything, at this instant."""
        looks = [self.outlook(entry.key) for entry in self._queue.entries()]
        running = [self.outlook(key) for key in self._passes]
        return Snapshot(
            queued=tuple(look for look in looks if look.state == "queued"),
            waiting=tuple(look for look in looks if look.state == "waiting"),
            running=tuple(look for look in running if look.state == "running"),
            overdue=tuple(look for look in running if look.state == "overdue"),
            concurrency=self._concurrency,
            paused=self._paused,
            booted=self.booted,
        )

    # One turn: everything that can be done now, then the alarm for the rest.

    def _turn(self) -> None:
        now = self._clock.monotonic()
        self._abandon_overdue(now)
        self._controllers.start_due(now, self._wake.set)
        if self._boot_until is not None and (self._controllers.tried or now >= self._boot_until):
            self._boot_until = None
        self._start_passes(now)
        self._set_alarm()
        if not self._was_booted.is_set() and self._controllers.booted:
            self._was_booted.set()
            self._log.info("every object was looked at once")
        self._turned.set()

    def _set_alarm(self) -> None:
        instants = self._controllers.instants()
        if self._can_start() and (due := self._queue.next_due()) is not None:
            instants.append(due)
        if self._overdue_count() < self._settings.overdue_limit:
            instants.extend(p.deadline for p in self._passes.values() if not p.overdue)
        if self._boot_until is not None:
            instants.append(self._boot_until)
        self._alarm.set(min(instants, default=None), exact=not self._passes)

    def _overdue_count(self) -> int:
        return sum(1 for p in self._passes.values() if p.overdue)

    def _can_start(self) -> bool:
        held = len(self._passes) - self._overdue_count()
        return not self._paused and self._boot_until is None and held < self._concurrency

    def _listed(self, controller: Controller, found: Listed) -> None:
        self._meter.resynced(controller.kind, len(found))
        if not controller.listed:
            controller.unseen = {key for key, _ in found}
            for key, priority in found:
                self.enqueue(key, priority=priority)
            return
        for (key, _), delay in zip(found, spread_delays(len(found), controller.resync or ZERO), strict=True):
            self.enqueue(key, delay, priority=RESYNC_PRIORITY)

    # Passes.

    def _start_passes(self, now: float) -> None:
        while self._can_start():
            entry = self._queue.pop(now)
            if entry is None:
                return
            controller = self._controllers[entry.key.kind]
            self._numbers += 1
            id = PassId(entry.key, self._numbers)
            task = asyncio.get_running_loop().create_task(run_pass(controller.reconciler, id), name=f"pass {entry.key}")
            started = Pass(id, task, now, now + controller.deadline.total_seconds(), entry.priority)
            self._passes[entry.key] = started
            self._meter.waited(entry.key.kind, now - entry.due)
            task.add_done_callback(partial(self._task_ended, started))

    def _abandon_overdue(self, now: float) -> None:
        room = self._settings.overdue_limit - self._overdue_count()
        for late in [p for p in self._passes.values() if not p.overdue and p.deadline <= now]:
            if room <= 0:
                # Every further hung pass keeps its slot: hung calls stay bounded, at the price of throughput.
                self._log.error("too many passes hang; their slots are not given to others", limit=self._settings.overdue_limit)
                return
            room -= 1
            late.overdue = True
            self._controllers[late.key.kind].unseen.discard(late.key)
            self._meter.passed(late.key.kind, "overdue", now - late.started)
            self._log.warning(
                "pass is over its deadline; waiting for its call without a slot",
                controller=late.key.kind,
                key=str(late.key),
                reconcile_id=late.id.number,
                seconds=now - late.started,
            )

    def _task_ended(self, ended: Pass, _: asyncio.Task[Result]) -> None:
        """The task's done callback: one switch over the outcomes, each touching queue, back-off, log and meter once."""
        now = self._clock.monotonic()
        key = ended.key
        del self._passes[key]
        self._controllers[key.kind].unseen.discard(key)
        end = end_of(ended)
        self._meter.passed(key.kind, end.outcome, now - ended.started)
        due: float | None = None
        if end.outcome in ("failed", "in-doubt") or (ended.overdue and end.outcome not in ("refused", "stopped")):
            due = self._retry(ended, end, now)
        else:
            self._failures.forget(key)
            if end.error is not None:
                self._report(ended, end.error, "pass was refused; waiting for a change")
            elif end.after is not None:
                due = now + end.after.total_seconds()
                if end.outcome == "again":
                    due = self._throttle(ended, now)
        if end.outcome != "again":
            self._again.pop(key, None)
        self._queue.postpone(key, not_before=self._failures.floor(key))
        self._queue.done(key, now=now, due=due, priority=ended.priority)
        self._wake.set()

    def _retry(self, ended: Pass, end: End, now: float) -> float:
        error = end.error or TimeoutError(f"the pass took {now - ended.started:.0f} s")
        failing = self._failures.failed(ended.key, str(error) or type(error).__name__, now=now, at_least_s=end.at_least_s)
        wait = failing.retry - now
        self._report(ended, error, "pass failed; backing off", failures=failing.failures, retry_in_s=round(wait, 3))
        return failing.retry

    def _throttle(self, ended: Pass, now: float) -> float:
        """When to serve a key that wants to be looked at again at once: now, unless it has wanted that too often in a row."""
        count = self._again[ended.key] = self._again.get(ended.key, 0) + 1
        excess = count - self._settings.again_limit
        if excess <= 0:
            return now
        if excess == 1:
            self._log.warning("pass asks for another one again and again; slowing it down", key=str(ended.key), passes=count)
        return now + self._settings.backoff.delay(excess, self._random).total_seconds()

    def _report(self, ended: Pass, error: BaseException, event: str, **values: object) -> None:
        self._log.warning(
            event,
            controller=ended.key.kind,
            key=str(ended.key),
            reconcile_id=ended.id.number,
            error=str(error) or type(error).__name__,
            error_type=type(error).__name__,
            **values,
        )
        if self._on_error is not None:
            self._on_error(ended.key, error)

    # The end.

    async def _drain(self, limit: timedelta) -> None:
        until = self._clock.monotonic() + limit.total_seconds()
        await self._wait_for_passes(until)

    async def _cancel_all(self) -> None:
        """Cancels what still runs and waits a moment for it; what swallows its cancellation is left behind."""
        self._controllers.cancel()
        for running in self._passes.values():
            running.cancelled = True
            running.task.cancel()
        if self._passes:
            await self._wait_for_passes(self._clock.monotonic() + 1.0)

    async def _wait_for_passes(self, until: float) -> None:
        while self._passes and self._clock.monotonic() < until:
            self._alarm.set(until, exact=True)
            await self._wake.wait()
            self._wake.clear()
