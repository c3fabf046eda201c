"""No input escapes: whatever is sent, the answer is an object or an error of ours, and after an error nothing changed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setpoint.testing.store_contract import container, key
from state.errors import StateError
from state.objects import Key, Object
from state.sqlite.store import Options, SqliteStore
from state.store import Apply, Selection

words = st.text(max_size=5) | st.sampled_from(["a", "default", "v1"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8
)
FIELDS = (
    "name",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "uid",
    "resourceVersion",
    "generateName",
    "generation",
    "deletionTimestamp",
)
metadata = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values))
kinds = st.sampled_from(["Container", "ConfigMap", "Secret", "Namespace", "Event", "Node", "Image", "Spaceship"])
objects = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.sampled_from(["v1", "setpoint.dev/v1alpha1"]) | scalars,
        "kind": kinds | scalars,
        "metadata": metadata | values,
        "spec": values,
        "status": values,
        "data": values,
        "stringData": values,
    },
)
operations = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | scalars,
        "path": st.sampled_from(["", "/metadata", "/spec/image", "/metadata/name", "/status", "/spec/-"]) | scalars,
        "from": st.sampled_from(["/spec", "/metadata"]) | scalars,
        "value": values,
    },
)
LIVE = Key("Container", "default", "live")
hostile = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Now:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


class Uuids:
    def uid(self) -> str:
        return str(uuid.uuid4())


class Home:
    """A store with one container, answered inline on a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        opening = SqliteStore.open(folder / "store.db", clock=Now(), ids=Uuids(), options=Options(inline=True))
        self.store = self.loop.run_until_complete(opening)
        self.loop.run_until_complete(self.store.create(container("live"), manager="m"))

    def send(self, call: Callable[[SqliteStore], Awaitable[Any]]) -> None:
        """An error of ours, or none; after an error the store is as it was."""
        revision = self.store.revision

        async def run() -> None:
            try:
                await call(self.store)
            except StateError:
                assert self.store.revision == revision
            await self.store.get(LIVE)

        self.loop.run_until_complete(run())

    def close(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def of_live(obj: Object) -> Object:
    meta = obj.get("metadata")
    named = {**(meta if isinstance(meta, dict) else {}), "name": "live", "namespace": "default"}
    return {**obj, "apiVersion": "setpoint.dev/v1alpha1", "kind": "Container", "metadata": named}


@hostile
@given(objects)
def test_objects(home: Home, obj: Object) -> None:
    home.send(lambda store: store.create(obj, manager="m", dry_run=True))
    home.send(lambda store: store.apply([Apply(obj, "m"), Apply(obj, "n")], dry_run=True))
    home.send(lambda store: store.update(of_live(obj), manager="m", dry_run=True))
    home.send(lambda store: store.update(of_live(obj), manager="m", subresource="status", dry_run=True))
    home.send(lambda store: store.update(of_live(obj), manager="setpoint-agent", subresource="status", dry_run=True))
    home.send(lambda store: store.apply([Apply(of_live(obj), "m", force=True)], dry_run=True))


@hostile
@given(objects | values, st.lists(operations, max_size=3) | values)
def test_patches(home: Home, merge: Any, operations: Any) -> None:
    home.send(lambda store: store.patch(LIVE, merge, manager="m", dry_run=True))
    home.send(lambda store: store.patch(LIVE, merge, manager="setpoint-agent", subresource="status", dry_run=True))
    home.send(lambda store: store.patch(LIVE, operations, type="json", manager="m", dry_run=True))


@hostile
@given(st.text(max_size=8), st.text(max_size=20), st.text(max_size=20), st.text(max_size=12))
def test_reads(home: Home, name: str, labels: str, fields: str, page: str) -> None:
    home.send(lambda store: store.get(Key("Container", "default", name)))
    home.send(lambda store: store.list(Selection("Container", name, labels=labels)))
    home.send(lambda store: store.list(Selection("Container", "default", fields=fields), limit=1))
    home.send(lambda store: store.list(Selection("Container"), limit=1, page=page))


@pytest.mark.parametrize("depth", [70, 5000])
def test_depth(home: Home, depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    home.send(lambda store: store.create(container("deep", env=deep), manager="m"))
    home.send(lambda store: store.apply([Apply(container("deep", env=deep), "m")]))
    home.send(lambda store: store.patch(LIVE, {"status": deep}, manager="setpoint-agent", subresource="status"))
    home.send(lambda store: store.patch(LIVE, [{"op": "add", "path": "/status", "value": deep}], type="json", manager="m"))
    assert key(container("deep")) not in [item.key for item in _all(home)]


def _all(home: Home) -> Any:
    return home.loop.run_until_complete(home.store.list(Selection("Container"))).items
