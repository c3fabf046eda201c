"""A full disk: writes are refused, nothing is lost, and it heals by itself."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, configmap, key
from state.errors import Unavailable
from state.sqlite.ledger import SqliteLedger
from state.sqlite.store import SqliteStore

pytestmark = pytest.mark.kernel
BIG = "x" * 20_000


class Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Uuids:
    def uid(self) -> str:
        return str(uuid.uuid4())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)


async def test_a_full_disk_refuses_and_heals(small_disk: Path) -> None:
    store = await SqliteStore.open(small_disk / "store.db", clock=Now(), ids=Uuids())
    made: list[str] = []

    async def fill() -> None:
        for number in range(200):
            await store.create(configmap(f"c{number}", text=BIG), manager="m")
            made.append(f"c{number}")

    with pytest.raises(Unavailable, match="no space"):
        await fill()
    assert len(made) > 5
    for _ in range(3):
        with pytest.raises(Unavailable, match="no space"):
            await store.create(configmap("more", text=BIG * 10), manager="m")
    revision = store.revision
    assert sorted(item.key.name for item in (await store.list(CONFIGMAPS)).items) == sorted(made)
    assert (await store.get(key(configmap("c0")))).object["data"]["text"] == BIG

    enlarge(small_disk)
    healed = await store.create(configmap("healed", text=BIG), manager="m")
    assert healed.revision == revision + 1
    await store.close()

    again = await SqliteStore.open(small_disk / "store.db", clock=Now(), ids=Uuids())
    assert sorted(item.key.name for item in (await again.list(CONFIGMAPS)).items) == sorted([*made, "healed"])
    await again.close()


async def test_a_full_disk_and_the_ledger(small_disk: Path) -> None:
    ledger = await SqliteLedger.open(small_disk / "ledger.db")

    async def fill() -> None:
        for number in range(200):
            await ledger.put("space", str(number), {"text": BIG})

    with pytest.raises(Unavailable, match="no space"):
        await fill()
    count = len(ledger.list("space"))
    assert count > 5
    assert ledger.get("space", str(count)) is None
    enlarge(small_disk)
    await ledger.put("space", "healed", {})
    await ledger.close()
    again = await SqliteLedger.open(small_disk / "ledger.db")
    assert len(again.list("space")) == count + 1
    await again.close()


async def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * (1 << 20))
    with pytest.raises(Unavailable):
        await SqliteStore.open(small_disk / "store.db", clock=Now(), ids=Uuids())
    (small_disk / "filler").unlink()
    store = await SqliteStore.open(small_disk / "store.db", clock=Now(), ids=Uuids())
    await store.close()
