"""Acknowledged writes survive: a writer killed at any moment, and power that fails while the log is written."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, configmap
from state.sqlite.ledger import SqliteLedger
from state.sqlite.store import SqliteStore

COMMITS = 200
WRITER = """
import asyncio, sys
from pathlib import Path
from tests_store_clock import Now, Uuids
from state.sqlite.ledger import SqliteLedger
from state.sqlite.store import SqliteStore

async def main(folder):
    store = await SqliteStore.open(folder / "store.db", clock=Now(), ids=Uuids())
    ledger = await SqliteLedger.open(folder / "ledger.db")
    print("ready", flush=True)

    async def write(number):
        name = f"c{number}"
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"n": name}}
        await store.create(obj, manager="m")
        print("store", name, flush=True)
        await ledger.put("space", name, {"n": name})
        print("ledger", name, flush=True)

    numbers = iter(range(1_000_000))
    while True:
        await asyncio.gather(*(write(next(numbers)) for _ in range(3)))

asyncio.run(main(Path(sys.argv[1])))
"""
CLOCK = """
import uuid
from datetime import UTC, datetime

class Now:
    def now(self):
        return datetime.now(UTC)

class Uuids:
    def uid(self):
        return str(uuid.uuid4())
"""


class Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Uuids:
    def uid(self) -> str:
        return str(uuid.uuid4())


async def opened(folder: Path) -> SqliteStore:
    return await SqliteStore.open(folder / "store.db", clock=Now(), ids=Uuids())


async def run_and_kill(folder: Path, after: int) -> dict[str, set[str]]:
    """What a real child process acknowledged before it was killed with SIGKILL, after so many acknowledgements."""
    (folder / "tests_store_clock.py").write_text(CLOCK)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}", "PATH": "/usr/bin:/bin"},
    )
    assert child.stdout
    told: dict[str, set[str]] = {"store": set(), "ledger": set()}
    while (line := await asyncio.wait_for(child.stdout.readline(), 30)).strip():
        words = line.decode().split()
        if words[0] == "ready":
            continue
        told[words[0]].add(words[1])
        if sum(map(len, told.values())) == after:
            child.kill()
    assert await child.wait() == -signal.SIGKILL
    return told


@pytest.mark.parametrize("after", [1, 17, 90, COMMITS])
async def test_a_killed_writer_keeps_its_word(tmp_path: Path, after: int) -> None:
    told = await run_and_kill(tmp_path, after)
    assert sum(map(len, told.values())) >= after
    store = await opened(tmp_path)
    ledger = await SqliteLedger.open(tmp_path / "ledger.db")
    found = {item.key.name: item.object["data"]["n"] for item in (await store.list(CONFIGMAPS)).items}
    assert told["store"] <= found.keys()
    assert all(name == value for name, value in found.items())
    assert told["ledger"] <= ledger.list("space").keys()
    await store.create(configmap("afterwards"), manager="m")
    await store.close()
    await ledger.close()


async def test_power_that_fails_while_the_log_is_written(tmp_path: Path) -> None:
    """The log cut at any length, and what lies behind the cut lost or turned to noise: every commit that was synced before
    is there, none is there by half, and the store opens."""
    chance = random.Random(7)
    live = tmp_path / "live"
    live.mkdir()
    store = await opened(live)
    await store.database.write(lambda c: c.exec_driver_sql("PRAGMA wal_autocheckpoint=0"))
    wal = live / "store.db-wal"
    lengths = []
    for number in range(40):
        await store.create(configmap(f"c{number}", text="x" * chance.randrange(3000)), manager="m")
        lengths.append(wal.stat().st_size)
    log, base = wal.read_bytes(), (live / "store.db").read_bytes()
    await store.close()

    cuts = [length + offset for length in lengths for offset in (0, -1, 24, 4000)]
    for number, cut in enumerate(cuts):
        kept = [n for n, length in enumerate(lengths) if length <= cut]
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        (folder / "store.db").write_bytes(base)
        noise = chance.randbytes(min(8192, max(0, len(log) - cut))) if number % 2 else b""
        (folder / "store.db-wal").write_bytes(log[:cut] + noise)
        again = await opened(folder)
        names = {item.key.name for item in (await again.list(CONFIGMAPS)).items}
        # noise may happen to be the very byte that was cut off: then one more commit is whole
        assert names == {f"c{n}" for n in range(len(names))}, cut
        assert len(kept) <= len(names) <= len(kept) + number % 2
        assert again.revision == 1 + len(names)
        await again.close()
        shutil.rmtree(folder)
