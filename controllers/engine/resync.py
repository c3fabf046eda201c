"""The keys of a controller, listed at the start and again every period: what was lost between is found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from controllers.engine.backoff import Backoff
from controllers.engine.ports import Clock, Log, Random
from controllers.engine.result import Reconciler
from state.objects import Key

Listed = list[tuple[Key, int]]
"""Keys with their priorities at boot (higher first)."""

Keys = Callable[[], Awaitable[Iterable[tuple[Key, int]]]]
"""Lists every key of a controller."""

RESYNC_PRIORITY = -100
"""Below everything: a resync never delays an event."""

PERIOD_JITTER = 0.1
"""Share by which a period varies, so that several controllers do not fall into step."""

SPREAD = 0.1
"""Share of the period over which a resync's keys are spread."""


@dataclass(slots=True, eq=False)
class Controller:
    """A reconciler and how its keys are found. ``due``: the next listing, an instant; None: no more of them."""

    reconciler: Reconciler
    keys: Keys | None
    resync: timedelta | None
    deadline: timedelta
    due: float | None = None
    listing: asyncio.Task[None] | None = None
    failures: int = 0
    listed: bool = False
    unseen: set[Key] = field(default_factory=set)
    """Keys of the first listing that have not had a pass yet."""

    @property
    def kind(self) -> str:
        return self.reconciler.kind

    @property
    def booted(self) -> bool:
        return self.keys is None or (self.listed and not self.unseen)

    @property
    def tried(self) -> bool:
        """Its keys are known, or could not be had at the first try."""
        return self.keys is None or self.listed or self.failures > 0


def spread_delays(count: int, period: timedelta) -> list[timedelta]:
    """By how much each of a resync's keys is delayed: evenly over the first part of the period."""
    return [period * (SPREAD * i / count) for i in range(count)]


class Resync:
    """Lists when a listing is due, one at a time per controller; a listing that fails is tried again, and again."""

    def __init__(self, clock: Clock, random: Random, log: Log, listed: Callable[[Controller, Listed], None]) -> None:
        self._clock = clock
        self._random = random
        self._log = log
        self._listed = listed
        self._backoff = Backoff(first=timedelta(seconds=1), cap=timedelta(seconds=30))
        self._controllers: dict[str, Controller] = {}

    def add(self, controller: Controller) -> None:
        if controller.kind in self._controllers:
            raise ValueError(f"there is a reconciler for {controller.kind} already")
        controller.due = self._clock.monotonic() if controller.keys is not None else None
        self._controllers[controller.kind] = controller

    def __getitem__(self, kind: str) -> Controller:
        return self._controllers[kind]

    def __iter__(self) -> Iterator[Controller]:
        return iter(self._controllers.values())

    def start_due(self, now: float, ended: Callable[[], None]) -> None:
        """Starts every listing that is due; ``ended`` is called when one is through."""
        for controller in self:
            if controller.keys is not None and controller.due is not None and controller.due <= now:
                controller.due = None
                listing = self._list(controller, controller.keys, ended)
                controller.listing = asyncio.get_running_loop().create_task(listing, name=f"resync {controller.kind}")

    def instants(self) -> list[float]:
        """When listings fall due."""
        return [c.due for c in self if c.due is not None]

    @property
    def busy(self) -> bool:
        return any(c.listing is not None for c in self)

    @property
    def booted(self) -> bool:
        return all(c.booted for c in self)

    @property
    def tried(self) -> bool:
        return all(c.tried for c in self)

    def cancel(self) -> None:
        for controller in self:
            if controller.listing is not None:
                controller.listing.cancel()

    async def _list(self, controller: Controller, keys: Keys, ended: Callable[[], None]) -> None:
        wait: float | None = None
        try:
            found = list(await keys())
            if controller.resync is not None:
                share = 1.0 + PERIOD_JITTER * self._random.uniform(-1.0, 1.0)
                wait = controller.resync.total_seconds() * share
            controller.failures = 0
            self._listed(controller, found)
            controller.listed = True
        except Exception as error:
            controller.failures += 1
            wait = self._backoff.delay(controller.failures, self._random).total_seconds()
            self._log.warning("listing failed", controller=controller.kind, error=str(error), retry_in_s=round(wait, 3))
        finally:
            controller.listing = None
            controller.due = None if wait is None else self._clock.monotonic() + wait
            ended()
