"""Disk errors and sudden death at single system calls of a real process, injected by strace.

The child writes object after object and says how each write ended. Whatever happens at whichever call: it does not crash of an
error, the file is sound afterwards, every acknowledged write is there, and none that was said to be unavailable is.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from setpoint.testing.store_contract import CONFIGMAPS
from state.sqlite.store import SqliteStore

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")]

WRITES = 20
CHILD = """
import asyncio, sys, uuid
from datetime import UTC, datetime
from pathlib import Path
from state.errors import StateError
from state.sqlite.store import Options, SqliteStore

class World:
    def now(self):
        return datetime.now(UTC)
    def uid(self):
        return str(uuid.uuid4())

async def opened(path, world):
    for _ in range(3):
        try:
            admit = lambda obj, old, strict=True: obj
            return await SqliteStore.open(path, clock=world, ids=world, options=Options(admit=admit))
        except StateError as exc:
            print(type(exc).__name__, "open", flush=True)
    return None

async def main(folder):
    store = await opened(folder / "store.db", World())
    for n in range(20 if store else 0):
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{n}"}, "data": {"n": str(n)}}
        try:
            await store.create(obj, manager="m")
            print("ok", f"c{n}", flush=True)
        except StateError as exc:
            print(type(exc).__name__, f"c{n}", flush=True)
    if store:
        await store.close()
    print("done", "", flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


class World:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def uid(self) -> str:
        return str(uuid.uuid4())


async def run(folder: Path, calls: str, fault: str) -> tuple[int, dict[str, set[str]]]:
    """How the child ended, and what it said of each write, by outcome."""
    files = [word for name in ("store.db", "store.db-wal", "store.db.new") for word in ("-P", str(folder / name))]
    child = await asyncio.create_subprocess_exec(
        "strace",
        "-f",
        "-o",
        "/dev/null",
        *files,
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:{fault}",
        sys.executable,
        "-c",
        CHILD,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )
    out, err = await asyncio.wait_for(child.communicate(), 50)
    assert b"Traceback" not in err, err.decode()
    said: dict[str, set[str]] = {}
    for line in out.decode().splitlines():
        outcome, _, name = line.partition(" ")
        said.setdefault(outcome, set()).add(name)
    assert child.returncode is not None
    return child.returncode, said


async def found(folder: Path) -> set[str]:
    """What is there afterwards, in a sound file."""
    store = await SqliteStore.open(folder / "store.db", clock=World(), ids=World())
    names = {item.key.name for item in (await store.list(CONFIGMAPS)).items}
    await store.close()
    return names


ERRORS = [
    pytest.param("pwrite64", "error=EIO", (3, 40, 151), id="write EIO"),
    pytest.param("pwrite64", "error=ENOSPC", (2, 55, 180), id="write ENOSPC"),
    pytest.param("fdatasync,fsync", "error=EIO", (2, 9), id="sync EIO"),
]


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("calls", "error", "points"), ERRORS)
async def test_an_error_of_the_disk(tmp_path: Path, calls: str, error: str, points: tuple[int, ...], sticky: bool) -> None:
    for point in points:
        folder = tmp_path / str(point)
        folder.mkdir()
        code, said = await run(folder, calls, f"{error}:when={point}{'+' if sticky else ''}")
        assert code == 0
        assert "done" in said, point
        assert said.keys() <= {"ok", "done", "Unavailable", "InDoubt"}, point
        names = await found(folder)
        assert said.get("ok", set()) <= names, point
        assert not said.get("Unavailable", set()) & names, point
        # strace counts by thread, and every try to open has a thread of its own: an early point fails each of them
        if not sticky and "open" not in said.get("Unavailable", ()):
            assert len(said.get("ok", set())) >= WRITES - 2, point


async def test_death_at_a_call(tmp_path: Path) -> None:
    for point in (2, 30, 100, 201):
        folder = tmp_path / str(point)
        folder.mkdir()
        code, said = await run(folder, "pwrite64", f"signal=SIGKILL:when={point}")
        assert code == -signal.SIGKILL, point
        names = await found(folder)
        acknowledged = said.get("ok", set())
        assert acknowledged <= names, point
        assert len(names) <= len(acknowledged) + 1, point
