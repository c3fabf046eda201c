"""Commits: grouped, durable, none for nothing; and the threads behind them."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, Watching, configmap, container, key, set_status
from state.errors import AlreadyExists, StateError, Unavailable
from state.objects import Key
from state.sqlite.store import SqliteStore
from state.store import Apply, DeleteOptions

Open = Callable[..., Awaitable[SqliteStore]]


def bytes_of(path: Path) -> dict[str, bytes]:
    """The store's files, but for the index of its log, which readers write their marks into."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if not file.name.endswith("-shm")}


async def test_a_write_that_changes_nothing_changes_nothing(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    made = (await store.create(configmap(a="1"), manager="m")).object
    await store.create(container(), manager="m")
    await store.apply([Apply(configmap("applied", a="1"), "setpoint")])
    await set_status(store, container(), phase="Up")
    await store.delete(key(container()))
    watcher = sqlite3.connect(tmp_path / "store.db")
    data_version = watcher.execute("PRAGMA data_version").fetchone()
    before, revision, commits = bytes_of(tmp_path), store.revision, store.database.counters.commits

    await store.update(made, manager="m")
    await store.patch(key(made), {"data": {"a": "1"}}, manager="other")
    await store.patch(key(made), [{"op": "test", "path": "/data/a", "value": "1"}], type="json", manager="other")
    await store.apply([Apply(configmap("applied", a="1"), "setpoint")])
    await set_status(store, container(), phase="Up")
    await store.delete(key(container()))
    await store.create(configmap("new"), manager="m", dry_run=True)
    await store.apply([Apply(configmap("new"), "setpoint")], dry_run=True)
    with pytest.raises(AlreadyExists):
        await store.create(configmap(), manager="m")

    assert bytes_of(tmp_path) == before
    assert watcher.execute("PRAGMA data_version").fetchone() == data_version
    assert (store.revision, store.database.counters.commits) == (revision, commits)
    watcher.close()


async def test_a_hundred_writers_share_commits(open_store: Open) -> None:
    store = await open_store()
    before = store.database.counters.commits
    await asyncio.gather(*(store.create(configmap(f"c{n}"), manager="m") for n in range(100)))
    assert store.database.counters.commits - before <= 10
    assert len((await store.list(CONFIGMAPS)).items) == 100


async def test_one_that_fails_does_not_take_the_others_along(open_store: Open) -> None:
    store = await open_store()
    await store.create(configmap("c7"), manager="m")
    tries = (store.create(configmap(f"c{n}"), manager="m") for n in range(20))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert [n for n, result in enumerate(results) if isinstance(result, StateError)] == [7]
    listing = await store.list(CONFIGMAPS)
    assert len(listing.items) == 20
    assert sorted(int(item.object["metadata"]["resourceVersion"]) for item in listing.items) == list(range(2, 22))


async def test_revisions_have_no_gaps(open_store: Open) -> None:
    store = await open_store()
    for n in range(5):
        await store.create(configmap(f"c{n}"), manager="m")
        await store.create(configmap("dry"), manager="m", dry_run=True)
        with pytest.raises(AlreadyExists):
            await store.create(configmap("c0"), manager="m")
    assert store.revision == 1 + 5


async def test_an_atomic_apply_is_one_commit(open_store: Open) -> None:
    store = await open_store()
    before = store.database.counters.commits
    await store.apply([Apply(container(f"c{n}"), "setpoint") for n in range(100)])
    assert store.database.counters.commits - before == 1


async def test_reads_do_not_wait_for_a_writer(open_store: Open) -> None:
    store = await open_store()
    await store.create(configmap(), manager="m")
    entered, leave = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        entered.set()
        leave.wait(10)

    held = asyncio.create_task(store.database.write(hold))
    await asyncio.to_thread(entered.wait, 10)
    try:
        assert (await asyncio.wait_for(store.get(key(configmap())), 5)).key.name == "conf"
        assert len((await asyncio.wait_for(store.list(CONFIGMAPS), 5)).items) == 1
    finally:
        leave.set()
    await held


async def test_it_can_be_used_from_another_thread(open_store: Open) -> None:
    store = await open_store()

    async def elsewhere() -> str:
        await store.create(configmap("far"), manager="m")
        watch = store.watch(CONFIGMAPS, since=0)
        event = await Watching(watch).next()
        return event.stored.key.name if event.stored else ""

    name = await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert name == "far"
    assert (await store.get(key(configmap("far")))).key.name == "far"


async def test_a_cancelled_write_leaves_the_store_usable(open_store: Open) -> None:
    store = await open_store()
    task = asyncio.create_task(store.create(configmap("a"), manager="m"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.create(configmap("b"), manager="m")
    assert [item.key.name for item in (await store.list(CONFIGMAPS)).items] in (["a", "b"], ["b"])


async def test_what_was_submitted_is_done_before_it_closes(open_store: Open) -> None:
    store = await open_store()
    writes = [asyncio.create_task(store.create(configmap(f"c{n}"), manager="m")) for n in range(10)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*writes)) == 10
    with pytest.raises(Unavailable, match="closed"):
        await store.get(key(configmap("c0")))
    assert len((await (await open_store()).list(CONFIGMAPS)).items) == 10


async def test_closing_leaves_no_thread(open_store: Open) -> None:
    before = threading.active_count()
    store = await open_store()
    assert threading.active_count() == before + 2
    await store.close()
    assert threading.active_count() == before


async def test_the_threads_are_daemons(open_store: Open) -> None:
    await open_store()
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("store-")]
    assert len(ours) == 2
    assert all(thread.daemon for thread in ours)


async def test_files_are_for_their_owner_only(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.create(configmap(), manager="m")
    for file in list(tmp_path.iterdir()):  # noqa: ASYNC240
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_wal_and_full(open_store: Open) -> None:
    store = await open_store()

    def settings(connection: Any) -> list[Any]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert await store.database.write(settings) == ["wal", 2]


async def test_identity_is_kept(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    first = (store.engine_id, store.epoch)
    await store.close()
    again = await open_store()
    assert (again.engine_id, again.epoch) == first
    assert again.restored_at == ""
    other = await open_store(tmp_path / "other.db")
    assert other.engine_id != first[0]


async def test_foreground_waits_only_for_dependents(open_store: Open) -> None:
    store = await open_store()
    owner = await store.create(configmap("owner"), manager="m")
    lonely = await store.create(configmap("lonely"), manager="m")
    child = configmap("child")
    child["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid}]
    await store.create(child, manager="m")
    held = await store.delete(owner.key, DeleteOptions(propagation="Foreground"))
    assert held.object["metadata"]["finalizers"] == ["foregroundDeletion"]
    gone = await store.delete(lonely.key, DeleteOptions(propagation="Orphan"))
    assert "finalizers" not in gone.object["metadata"]
    assert [item.key.name for item in (await store.list(CONFIGMAPS)).items] == ["child", "owner"]


async def test_a_busy_file_is_unavailable_and_heals(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.database.write(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=1"))
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another process"):
        await store.create(configmap(), manager="m")
    other.execute("ROLLBACK")
    other.close()
    await store.create(configmap(), manager="m")


async def test_an_unknown_kind_is_not_found(open_store: Open) -> None:
    store = await open_store()
    with pytest.raises(StateError, match="Spaceship"):
        await store.get(Key("Spaceship", "", "x"))
