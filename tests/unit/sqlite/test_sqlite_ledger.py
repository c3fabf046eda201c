"""The ledger: memory to read from, a file to rely on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from state.errors import Invalid
from state.ledger import CONTAINERS, TOMBSTONES, Ledger
from state.sqlite.errors import Corrupt
from state.sqlite.ledger import SqliteLedger

Open = Callable[..., Awaitable[SqliteLedger]]


async def test_it_is_a_ledger(open_ledger: Open) -> None:
    ledger: Ledger = await open_ledger()
    assert ledger.get(CONTAINERS, "u") is None
    assert ledger.list(CONTAINERS) == {}


async def test_put_get_list(open_ledger: Open) -> None:
    ledger = await open_ledger()
    await ledger.put(CONTAINERS, "a", {"revision": 1})
    await ledger.put(CONTAINERS, "b", {"revision": 2})
    await ledger.put(TOMBSTONES, "a", {})
    assert ledger.get(CONTAINERS, "a") == {"revision": 1}
    assert ledger.list(CONTAINERS) == {"a": {"revision": 1}, "b": {"revision": 2}}
    assert ledger.list(TOMBSTONES) == {"a": {}}


async def test_none_deletes(open_ledger: Open) -> None:
    ledger = await open_ledger()
    await ledger.put(CONTAINERS, "a", {"x": 1})
    await ledger.put(CONTAINERS, "a", None)
    assert ledger.get(CONTAINERS, "a") is None
    assert (await open_ledger()).list(CONTAINERS) == {}


async def test_it_is_kept(open_ledger: Open) -> None:
    ledger = await open_ledger()
    await ledger.put_all({(CONTAINERS, "a"): {"x": [1, {"y": None}]}, (TOMBSTONES, "b"): {"z": "ü"}})
    await ledger.close()
    again = await open_ledger()
    assert again.get(CONTAINERS, "a") == {"x": [1, {"y": None}]}
    assert again.get(TOMBSTONES, "b") == {"z": "ü"}


async def test_an_equal_one_commits_nothing(open_ledger: Open) -> None:
    ledger = await open_ledger()
    await ledger.put(CONTAINERS, "a", {"x": 1})
    commits = ledger.database.counters.commits
    await ledger.put(CONTAINERS, "a", {"x": 1})
    await ledger.put(CONTAINERS, "none", None)
    await ledger.put_all({(CONTAINERS, "a"): {"x": 1}})
    assert ledger.database.counters.commits == commits


async def test_several_are_one_commit(open_ledger: Open) -> None:
    ledger = await open_ledger()
    await ledger.put_all({(CONTAINERS, str(n)): {"n": n} for n in range(50)})
    assert ledger.database.counters.commits == 1


async def test_the_last_of_racing_writes_counts(open_ledger: Open) -> None:
    ledger = await open_ledger()
    await ledger.put(CONTAINERS, "a", {"x": "old"})
    await asyncio.gather(ledger.put(CONTAINERS, "a", {"x": "new"}), ledger.put(CONTAINERS, "a", {"x": "old"}))
    assert ledger.get(CONTAINERS, "a") == {"x": "old"}
    assert (await open_ledger()).get(CONTAINERS, "a") == {"x": "old"}


async def test_a_document_is_not_shared_with_the_writer(open_ledger: Open) -> None:
    ledger = await open_ledger()
    doc = {"list": [1]}
    await ledger.put(CONTAINERS, "a", doc)
    doc["list"].append(2)
    assert ledger.get(CONTAINERS, "a") == {"list": [1]}


async def test_what_is_no_json_is_refused_whole(open_ledger: Open) -> None:
    ledger = await open_ledger()
    with pytest.raises(Invalid):
        await ledger.put_all({(CONTAINERS, "a"): {"x": 1}, (CONTAINERS, "b"): {"x": object()}})
    assert ledger.list(CONTAINERS) == {}


async def test_damage_is_found(open_ledger: Open, tmp_path: Path) -> None:
    ledger = await open_ledger()
    await ledger.put(CONTAINERS, "a", {"x": 1})
    await ledger.close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("UPDATE documents SET body = '{\"x\":2}'")
    connection.commit()
    connection.close()
    with pytest.raises(Corrupt, match="checksum"):
        await open_ledger()
