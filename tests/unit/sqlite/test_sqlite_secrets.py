"""Secrets at rest: sealed, rotated, lost and found again."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from setpoint.testing.store_contract import CONFIGMAPS, Watching, configmap, key, namespace, secret
from state.errors import AlreadyExists, NotFound, Unavailable
from state.sqlite.secrets import SecretBox, new_key
from state.sqlite.store import SqliteStore
from state.store import Apply, Selection

Open = Callable[..., Awaitable[SqliteStore]]
SECRETS = Selection("Secret", "default")
VALUE = "correct-horse-battery"
ENCODED = b"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"


async def test_nothing_of_a_secret_lies_in_the_files(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.create(secret("name-is-known", password=VALUE), manager="some-manager")
    await store.patch(key(secret("name-is-known")), {"metadata": {"labels": {"hidden": "label"}}}, manager="m")
    await store.delete(key(secret("name-is-known")))
    await store.close()
    for file in list(tmp_path.iterdir()):  # noqa: ASYNC240
        for text in (VALUE.encode(), ENCODED, b"password", b"hidden", b"some-manager"):
            assert text not in file.read_bytes(), file


async def test_it_reads_back(open_store: Open) -> None:
    await (await open_store()).create(secret(password=VALUE), manager="m")
    again = await open_store()
    assert (await again.get(key(secret()))).object["data"] == {"password": ENCODED.decode()}
    assert len((await again.list(SECRETS)).items) == 1


async def test_the_key_file_is_made_with_the_first_secret(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.create(configmap(), manager="m")
    assert not (tmp_path / "secrets.key").exists()
    await store.create(secret(), manager="m")
    assert stat.S_IMODE((tmp_path / "secrets.key").stat().st_mode) == 0o600


async def test_the_key_file_can_lie_elsewhere(open_store: Open, tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    path = tmp_path / "credentials" / "mine"
    path.write_text(new_key()[1])
    store = await open_store(secrets_key=path)
    await store.create(secret(), manager="m")
    assert not (tmp_path / "secrets.key").exists()


async def lost(open_store: Open, tmp_path: Path) -> SqliteStore:
    store = await open_store()
    await store.create(configmap(), manager="m")
    await store.create(secret("old", a=VALUE), manager="m")
    await store.close()
    (tmp_path / "secrets.key").rename(tmp_path / "away")
    return await open_store()


async def test_a_lost_key_loses_only_its_secrets(open_store: Open, tmp_path: Path) -> None:
    store = await lost(open_store, tmp_path)
    with pytest.raises(Unavailable, match=r"Secret/default/old .* key"):
        await store.get(key(secret("old")))
    with pytest.raises(Unavailable):
        await store.list(SECRETS)
    with pytest.raises(Unavailable):
        await store.patch(key(secret("old")), {"data": {"b": "eA=="}}, manager="m")
    with pytest.raises(Unavailable):
        await store.apply([Apply(secret("old", a="1"), "setpoint")])
    with pytest.raises(AlreadyExists):
        await store.create(secret("old"), manager="m")
    with pytest.raises(NotFound):
        await store.get(key(secret("none")))
    assert len((await store.list(CONFIGMAPS)).items) == 1
    await store.create(configmap("more"), manager="m")
    await store.create(namespace("team"), manager="m")


async def test_no_new_key_is_made_over_a_lost_one(open_store: Open, tmp_path: Path) -> None:
    store = await lost(open_store, tmp_path)
    with pytest.raises(Unavailable, match="put it back"):
        await store.create(secret("new"), manager="m")
    assert not (tmp_path / "secrets.key").exists()


async def test_a_key_that_comes_back_heals(open_store: Open, tmp_path: Path) -> None:
    store = await lost(open_store, tmp_path)
    with pytest.raises(Unavailable):
        await store.get(key(secret("old")))
    (tmp_path / "away").rename(tmp_path / "secrets.key")
    assert (await store.get(key(secret("old")))).object["data"]
    await store.create(secret("new"), manager="m")


async def test_lost_secrets_can_be_given_up(open_store: Open, tmp_path: Path) -> None:
    store = await lost(open_store, tmp_path)
    revision = store.revision
    await store.delete(key(secret("old")))
    await store.create(secret("old", a="1"), manager="m")
    assert len((await store.list(SECRETS)).items) == 1
    watch = Watching(store.watch(SECRETS, since=revision))
    assert await watch.take(2) == [("DELETED", "old"), ("ADDED", "old")]


async def test_a_namespace_with_lost_secrets_can_go(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.create(namespace("team"), manager="m")
    there = secret("there", a=VALUE)
    there["metadata"]["namespace"] = "team"
    await store.create(there, manager="m")
    await store.close()
    (tmp_path / "secrets.key").unlink()
    store = await open_store()
    await store.delete(key(namespace("team")))
    with pytest.raises(NotFound):
        await store.get(key(namespace("team")))


async def test_watches_of_others_pass_over_what_cannot_be_read(open_store: Open, tmp_path: Path) -> None:
    store = await lost(open_store, tmp_path)
    await store.create(configmap("late"), manager="m")
    watch = Watching(store.watch(CONFIGMAPS, since=0))
    assert await watch.take(2) == [("ADDED", "conf"), ("ADDED", "late")]
    with pytest.raises(Unavailable):
        await Watching(store.watch(SECRETS, since=0)).next()


async def test_rotation(open_store: Open, tmp_path: Path) -> None:
    store = await open_store()
    await store.create(secret("first", a="1"), manager="m")
    await store.close()
    path = tmp_path / "secrets.key"
    path.write_text(new_key()[1] + path.read_text())
    store = await open_store()
    await store.create(secret("second", a="2"), manager="m")
    await store.patch(key(secret("first")), {"data": {"b": "eA=="}}, manager="m")
    assert len((await store.list(SECRETS)).items) == 2
    await store.close()
    path.write_text(path.read_text().splitlines()[0] + "\n")
    store = await open_store()
    assert len((await store.list(SECRETS)).items) == 2


async def test_rows_cannot_be_exchanged(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "k")
    key_id, sealed = box.seal(b"plain", b"here", in_use=lambda: False)
    assert box.open(key_id, sealed, b"here") == b"plain"
    with pytest.raises(Unavailable):
        box.open(key_id, sealed, b"there")


@pytest.mark.parametrize("text", ["nonsense\n", "id !!!\n", "id YWJj\n"])
async def test_a_damaged_key_file(open_store: Open, tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets.key").write_text(text)
    store = await open_store()
    with pytest.raises(Unavailable, match="line 1"):
        await store.create(secret(), manager="m")
    assert (tmp_path / "secrets.key").read_text() == text
