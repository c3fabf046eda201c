"""Time, chance and names from the real world (``controllers.engine.ports`` Clock, Random, Ids). The only reader of clocks."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The host's clocks. ``monotonic`` is CLOCK_BOOTTIME, which goes on during suspend as a container's age does."""

    def __init__(self, boot_id: Path = BOOT_ID) -> None:
        self._boot_id = boot_id.read_text().strip()

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class SystemRandom:
    """Chance from the system's source; not seeded."""

    def __init__(self) -> None:
        self._source = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        return self._source.uniform(low, high)


class Uuids:
    """Random (version 4) UUIDs, as Kubernetes gives uids."""

    def uid(self) -> str:
        return str(uuid.uuid4())
