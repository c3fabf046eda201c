"""imagePullPolicy Always: is what we have what the registry has? Asked when a revision is made, and never for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from controllers.engine.ports import Clock
from state.errors import StateError
from state.objects import Object
from state.references import parse

SOON_S = 3.0
"""How long a start waits for a registry's first answer when there is an image to start from."""
QUIET_S = 60.0
"""A registry that did not answer is not asked again for that long: it would hold up every start."""

Pull = Callable[[str, Sequence[Object]], Awaitable[str]]
Present = Callable[[str], Awaitable[bool]]


class Refresher:
    """Pulls a newer image of the same name, if the registry answers in time."""

    def __init__(self, pull: Pull, present: Present, clock: Clock) -> None:
        self._pull, self._present, self._clock = pull, present, clock
        self._silent: dict[str, float] = {}

    async def refresh(self, reference: str, credentials: Sequence[Object]) -> bool:
        """False when what is here may be old. Without an image here there is nothing to refresh: True; a fetch follows."""
        if not await self._present(reference):
            return True
        name = parse(reference)
        if name.digest:
            return True
        if self._clock.monotonic() < self._silent.get(name.domain, 0.0):
            return False
        try:
            async with asyncio.timeout(SOON_S):
                await self._pull(reference, credentials)
        except (StateError, TimeoutError):
            self._silent[name.domain] = self._clock.monotonic() + QUIET_S
            return False
        return True
