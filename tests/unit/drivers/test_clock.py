"""The real clock, chance and names."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from controllers.engine.ports import Clock, Ids, Random
from setpoint.drivers.clock import SystemClock, SystemRandom, Uuids


def test_they_fit_the_ports() -> None:
    clock: Clock = SystemClock()
    chance: Random = SystemRandom()
    ids: Ids = Uuids()
    assert all(part is not None for part in (clock, chance, ids))


def test_now_is_aware_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_monotonic_is_time_since_boot_and_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
    assert abs(readings[-1] - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5


def test_boot_id_is_read_once_and_bare(tmp_path: Path) -> None:
    file = tmp_path / "boot_id"
    file.write_text("6b2d\n")
    clock = SystemClock(file)
    file.unlink()
    assert clock.boot_id == "6b2d"


async def test_sleep_yields_even_for_nothing() -> None:
    clock = SystemClock()
    seen: list[str] = []
    task = asyncio.create_task(_note(seen))
    await clock.sleep(-1)
    assert seen == ["ran"]
    await task


async def _note(seen: list[str]) -> None:
    seen.append("ran")


async def test_sleep_lasts() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - before >= 0.019


def test_chance_keeps_its_bounds() -> None:
    chance = SystemRandom()
    drawn = {chance.uniform(2.0, 3.0) for _ in range(50)}
    assert all(2.0 <= value <= 3.0 for value in drawn)
    assert len(drawn) > 1


def test_uids_are_fresh_random_uuids() -> None:
    ids = Uuids()
    made = {ids.uid() for _ in range(100)}
    assert len(made) == 100
    assert all(uuid.UUID(text).version == 4 and text == text.lower() for text in made)
