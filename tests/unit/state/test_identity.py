"""The engine's id outlives the store that made it: what runs carries it, and would else be nobody's."""

from __future__ import annotations

from pathlib import Path

from setpoint.drivers.clock import SystemClock, Uuids
from setpoint.identity import FILE, recall, remember
from state.sqlite.store import Options, SqliteStore


async def engine_of(folder: Path) -> str:
    options = Options(engine_id=recall(folder))
    store = await SqliteStore.open(folder / "store.db", clock=SystemClock(), ids=Uuids(), options=options)
    try:
        remember(folder, store.engine_id)
        return store.engine_id
    finally:
        await store.close()


def lose_store(folder: Path) -> None:
    for path in folder.glob("store.db*"):
        path.unlink()


async def test_a_store_made_anew_belongs_to_the_same_engine(tmp_path: Path) -> None:
    first = await engine_of(tmp_path)
    lose_store(tmp_path)
    assert await engine_of(tmp_path) == first


async def test_the_store_wins_over_the_file(tmp_path: Path) -> None:
    first = await engine_of(tmp_path)
    (tmp_path / FILE).write_text("6f9619ff-8b86-d011-b42d-00cf4fc964ff\n")
    assert await engine_of(tmp_path) == first
    assert recall(tmp_path) == first


def test_what_cannot_be_read_as_an_id_is_none(tmp_path: Path) -> None:
    assert recall(tmp_path) == ""
    (tmp_path / FILE).write_bytes(b"\xff../x\n")
    assert recall(tmp_path) == ""
