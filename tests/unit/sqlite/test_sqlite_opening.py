"""Opening: newer, damaged and foreign files are refused and left as they are; older ones are brought forward."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, configmap, container, key, secret, set_status
from state.sqlite.errors import Corrupt, NewerSchema
from state.sqlite.migrations import Schema, prepare
from state.sqlite.rows import SCHEMA
from state.sqlite.store import SqliteStore

Open = Callable[..., Awaitable[SqliteStore]]
PAGE = 4096


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the time of its last change."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in sorted(folder.iterdir())}


@pytest.fixture
async def filled(open_store: Open, tmp_path: Path) -> Path:
    """A folder with a closed store of several dozen pages, each page of which is part of some tree."""
    store = await open_store()
    for n in range(25):
        await store.create(configmap(f"c{n}", text="x" * 700), manager="m")
    await store.create(secret(a="1"), manager="m")
    await store.create(container(), manager="m")
    await set_status(store, container(), phase="Up")
    await store.delete(key(configmap("c3")))
    await store.close()
    return tmp_path


async def refuses(open_store: Open, folder: Path, error: type[Exception], match: str = ".") -> None:
    """Opening fails with this error, twice, and not a byte changed."""
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(error, match=match):
            await open_store()
        assert contents(folder) == before


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_a_newer_store_is_refused_untouched(open_store: Open, filled: Path) -> None:
    execute(filled / "store.db", f"PRAGMA user_version={SCHEMA.version + 1}")
    await refuses(open_store, filled, NewerSchema, "newer setpoint")


async def test_a_newer_store_whose_number_is_only_in_the_log(open_store: Open, filled: Path, tmp_path_factory: Any) -> None:
    alive = sqlite3.connect(filled / "store.db", isolation_level=None)
    alive.execute("PRAGMA journal_mode=WAL")
    alive.execute("PRAGMA wal_autocheckpoint=0")
    alive.execute(f"PRAGMA user_version={SCHEMA.version + 1}")
    crashed = tmp_path_factory.mktemp("crashed")
    for name in ("store.db", "store.db-wal"):
        shutil.copy(filled / name, crashed / name)
    alive.close()
    before = contents(crashed)
    with pytest.raises(NewerSchema):
        await open_store(crashed / "store.db")
    assert contents(crashed) == before


async def test_a_crashed_store_is_opened_with_its_log(open_store: Open, tmp_path_factory: Any) -> None:
    store = await open_store()
    await store.create(configmap(a="1"), manager="m")
    crashed = tmp_path_factory.mktemp("crashed")
    for name in ("store.db", "store.db-wal"):
        shutil.copy(store.database.path.with_name(name), crashed / name)
    again = await open_store(crashed / "store.db")
    assert [item.object["data"] for item in (await again.list(CONFIGMAPS)).items] == [{"a": "1"}]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:50], id="cut in the header"),
        pytest.param(lambda data: data[: PAGE + 100], id="cut after a page"),
        pytest.param(lambda data: data[:-PAGE], id="last page lost"),
        pytest.param(lambda data: b"\0" * 16 + data[16:], id="no magic"),
        pytest.param(lambda data: b"not a database at all" * 500, id="another file"),
        pytest.param(lambda data: data[:16] + b"\x00\x07" + data[18:], id="page size"),
        pytest.param(lambda data: data[:68] + b"\0\0\0\0" + data[72:], id="application id"),
        pytest.param(lambda data: data[:60] + b"\0\0\0\0" + data[64:], id="schema version"),
        pytest.param(lambda data: data[:100] + b"\xff" * 100 + data[200:], id="schema table"),
    ],
)
async def test_a_damaged_header(open_store: Open, filled: Path, damage: Callable[[bytes], bytes]) -> None:
    path = filled / "store.db"
    path.write_bytes(damage(path.read_bytes()))
    await refuses(open_store, filled, Corrupt)


async def test_damage_in_any_page_is_found(open_store: Open, filled: Path) -> None:
    path = filled / "store.db"
    sound = path.read_bytes()
    pages = len(sound) // PAGE
    assert pages > 15
    for page in range(pages):
        start = page * PAGE
        for what, junk in (("zeros", b"\0" * PAGE), ("noise", os.urandom(PAGE)), ("another page", sound[-PAGE:])):
            damaged = sound[:start] + junk + sound[start + PAGE :]
            if damaged == sound:
                continue
            path.write_bytes(damaged)
            with pytest.raises(Corrupt):
                await open_store()
            assert path.read_bytes() == damaged, (page, what)
    path.write_bytes(sound)
    await open_store()


async def test_a_flipped_bit_inside_a_value_is_found(open_store: Open, filled: Path) -> None:
    path = filled / "store.db"
    sound = path.read_bytes()
    places = [sound.index(b"x" * 700) + 350, sound.rindex(b"x" * 700) + 10, sound.index(b'"resourceVersion"') + 20]
    for place in places:
        flipped = bytearray(sound)
        flipped[place] ^= 0x04
        path.write_bytes(flipped)
        with pytest.raises(Corrupt, match="checksum"):
            await open_store()
        assert path.read_bytes() == flipped


async def test_a_counter_that_went_back_is_found(open_store: Open, filled: Path) -> None:
    execute(filled / "store.db", "UPDATE meta SET value = '3' WHERE name = 'revision'")
    await refuses(open_store, filled, Corrupt, "behind")


async def test_a_lost_identity_is_found(open_store: Open, filled: Path) -> None:
    execute(filled / "store.db", "DELETE FROM meta WHERE name = 'engine_id'")
    await refuses(open_store, filled, Corrupt, "engine_id")


async def test_a_lost_table_is_found(open_store: Open, filled: Path) -> None:
    execute(filled / "store.db", "DROP TABLE changes")
    await refuses(open_store, filled, Corrupt)


async def test_a_database_of_somebody_else(open_store: Open, tmp_path: Path) -> None:
    execute(tmp_path / "store.db", "CREATE TABLE foreign_thing (x)")
    await refuses(open_store, tmp_path, Corrupt, "another program")


async def test_a_log_without_its_database(open_store: Open, tmp_path: Path) -> None:
    (tmp_path / "store.db-wal").write_bytes(b"something")
    await refuses(open_store, tmp_path, Corrupt, "gone")


async def test_damage_met_while_running_stops_all_writes(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.create(configmap(a="1"), manager="m")
    execute(tmp_path / "store.db", "UPDATE objects SET body = 'nonsense' WHERE kind = 'ConfigMap'")
    for _ in range(2):
        with pytest.raises(Corrupt):
            await store.get(key(configmap()))
        with pytest.raises(Corrupt):
            await store.create(configmap("other"), manager="m")


def test_an_interrupted_beginning_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "store.db.new").write_bytes(b"half a file")
    prepare(tmp_path / "store.db", SCHEMA)
    assert [file.name for file in tmp_path.iterdir()] == ["store.db"]


class TestMigrations:
    first = ("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)")
    second = ("ALTER TABLE a ADD COLUMN y", "UPDATE a SET y = 2")

    def schema(self, *steps: tuple[str, ...]) -> Schema:
        return Schema(application_id=7, migrations=steps, verify=lambda _: "")

    def rows(self, path: Path) -> Any:
        connection = sqlite3.connect(path)
        found = connection.execute("SELECT * FROM a").fetchall()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.close()
        return version, found

    def test_a_new_file_gets_all_steps(self, tmp_path: Path) -> None:
        prepare(tmp_path / "f.db", self.schema(self.first, self.second))
        assert self.rows(tmp_path / "f.db") == (2, [(1, 2)])

    def test_an_older_file_gets_the_missing_ones(self, tmp_path: Path) -> None:
        prepare(tmp_path / "f.db", self.schema(self.first))
        prepare(tmp_path / "f.db", self.schema(self.first, self.second))
        assert self.rows(tmp_path / "f.db") == (2, [(1, 2)])

    def test_a_step_that_fails_leaves_the_file_as_it_was(self, tmp_path: Path) -> None:
        prepare(tmp_path / "f.db", self.schema(self.first))
        before = contents(tmp_path)
        with pytest.raises(Exception, match="nonsense"):
            prepare(tmp_path / "f.db", self.schema(self.first, (*self.second, "nonsense")))
        assert contents(tmp_path) == before
        assert self.rows(tmp_path / "f.db") == (1, [(1,)])

    def test_a_current_file_is_not_touched(self, tmp_path: Path) -> None:
        prepare(tmp_path / "f.db", self.schema(self.first))
        before = contents(tmp_path)
        prepare(tmp_path / "f.db", self.schema(self.first))
        assert contents(tmp_path) == before
