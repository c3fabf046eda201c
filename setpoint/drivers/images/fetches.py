"""Pulls that the loop asked for: one per reference, in the background, tried again with back-off while somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from controllers.engine.ports import Clock, Random
from setpoint.drivers.images.pulling import Progress
from state.errors import StateError
from state.objects import Object

FIRST_WAIT_S = 10.0
MAX_WAIT_S = 300.0
FORGET_S = 900.0
"""Without anybody asking, a reference that cannot be had is let go. Longer than the resync and the longest wait together."""

Pull = Callable[[str, Sequence[Object], Progress], Awaitable[str]]


@dataclass(slots=True)
class _Fetch:
    credentials: Sequence[Object]
    asked_at: float
    task: asyncio.Task[None] | None = None
    told: str = ""


class Fetches:
    """What is under way. ``ended(reference)`` is called after every attempt, well or not, so that who waits can look again."""

    def __init__(self, pull: Pull, clock: Clock, chance: Random, ended: Callable[[str], None]) -> None:
        self._pull = pull
        self._clock = clock
        self._chance = chance
        self._ended = ended
        self._fetches: dict[str, _Fetch] = {}

    def ask(self, reference: str, credentials: Sequence[Object]) -> None:
        """Starts, or keeps going, the fetch of a normalised reference. New credentials are tried at once."""
        now = self._clock.monotonic()
        known = self._fetches.get(reference)
        if known is not None and known.task is not None and not known.task.done():
            known.asked_at = now
            if list(known.credentials) == list(credentials):
                return
            known.task.cancel()
        fetch = _Fetch(tuple(credentials), now, told=known.told if known else "")
        self._fetches[reference] = fetch
        fetch.task = asyncio.get_running_loop().create_task(self._run(reference, fetch), name=f"fetch {reference}")

    def trouble(self, reference: str) -> str:
        """Empty when nothing was asked for, or when it came."""
        fetch = self._fetches.get(reference)
        return fetch.told if fetch else ""

    def arrived(self, reference: str) -> None:
        """It came by another way (a load, a pull by hand): nothing to tell and nothing to wait for any more."""
        fetch = self._fetches.pop(reference, None)
        if fetch is not None and fetch.task is not None and fetch.task is not asyncio.current_task():
            fetch.task.cancel()

    async def close(self) -> None:
        """Ends all of them; what was half fetched is gone on with next time."""
        tasks = [fetch.task for fetch in self._fetches.values() if fetch.task is not None]
        self._fetches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, reference: str, fetch: _Fetch) -> None:
        failures = 0
        while self._clock.monotonic() - fetch.asked_at < FORGET_S:
            try:
                await self._pull(reference, fetch.credentials, lambda *seen: self._tell(reference, fetch, *seen))
            except Exception as exc:  # whatever a registry sent: it may not end the fetch without a word
                failures += 1
                message, after = (exc.message, exc.retry_after_s) if isinstance(exc, StateError) else (repr(exc), 0)
                fetch.told = f"ErrImagePull: {_named(reference, message)}"
                self._ended(reference)
                wait = min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** (failures - 1)) * self._chance.uniform(0.8, 1.2)
                await self._clock.sleep(max(wait, after))
            else:
                if self._fetches.get(reference) is fetch:
                    del self._fetches[reference]
                self._ended(reference)
                return
        if self._fetches.get(reference) is fetch:
            del self._fetches[reference]

    def _tell(self, reference: str, fetch: _Fetch, status: str, done: int, total: int) -> None:
        """In steps of ten per cent, since what is told lands in the object's status. A failure stays until it is overcome."""
        if fetch.told.startswith("ErrImagePull") and status != "Pulling":
            return
        share = f", {done * 10 // total * 10} % of {_size(total)}" if total and status == "Pulling" else ""
        fetch.told = f"{status} {reference}{share}"


def _named(reference: str, message: str) -> str:
    return message if reference in message else f"{reference}: {message}"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.0f} KiB"
