"""Objects and small deeds that the checks share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from state.objects import Key, Object, Stored
from state.store import Apply, Selection, Store, WatchEvent

DEADLINE_S = 10.0
CONTAINERS = Selection("Container", "default")
CONFIGMAPS = Selection("ConfigMap", "default")
NO_UID = "00000000-0000-4000-8000-000000000000"


def _object(api_version: str, kind: str, name: str, labels: dict[str, str] | None) -> Object:
    found: Object = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}}
    if labels:
        found["metadata"]["labels"] = dict(labels)
    return found


def container(name: str = "web", *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """The least Container."""
    return _object("setpoint.dev/v1alpha1", "Container", name, labels) | {"spec": {"image": "busybox", **spec}}


def configmap(name: str = "conf", *, labels: dict[str, str] | None = None, **data: str) -> Object:
    """A ConfigMap: no finalizer, no status."""
    return _object("v1", "ConfigMap", name, labels) | {"data": dict(data)}


def secret(name: str = "pass", **data: str) -> Object:
    """A Secret with plain ``stringData``."""
    return _object("v1", "Secret", name, None) | {"stringData": dict(data)}


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def key(obj: Object) -> Key:
    """Its key."""
    return Key(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def meta(stored: Stored) -> Object:
    """Its metadata."""
    found: Object = stored.object["metadata"]
    return found


def owners(stored: Stored, path: str) -> set[str]:
    """Who owns a dotted field, by ``managedFields``."""
    found = set()
    for entry in meta(stored).get("managedFields", ()):
        node = entry["fieldsV1"]
        for name in path.split("."):
            node = node.get("f:" + name) if node is not None else None
        if node is not None:
            found.add(entry["manager"])
    return found


async def apply_one(store: Store, obj: Object, manager: str = "setpoint", **more: Any) -> Stored:
    """One object, applied."""
    return (await store.apply([Apply(obj, manager, **more)]))[0].stored


async def set_status(store: Store, obj: Object, **status: Any) -> Stored:
    """Its status, written as the agent does."""
    return await store.patch(key(obj), {"status": status}, manager="setpoint-agent", subresource="status")


async def release(store: Store, obj: Object) -> Stored:
    """Lets a deletion go through."""
    return await store.patch(key(obj), {"metadata": {"finalizers": None}}, manager="setpoint-agent")


class Watching:
    """A watch under a deadline."""

    def __init__(self, events: AsyncIterator[WatchEvent]) -> None:
        self._events = events

    async def next(self) -> WatchEvent:
        """The next event, bookmarks left out unless they end the beginning."""
        while True:
            event = await asyncio.wait_for(anext(self._events), DEADLINE_S)
            if event.type != "BOOKMARK" or event.initial_end:
                return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        return [told(await self.next()) for _ in range(count)]


def told(event: WatchEvent) -> tuple[str, str]:
    """What it tells, in short."""
    return event.type, event.stored.key.name if event.stored else ""


@asynccontextmanager
async def watching(store: Store, select: Selection, **options: Any) -> AsyncIterator[Watching]:
    """A watch that is closed behind itself."""
    events: Any = store.watch(select, **options)
    async with aclosing(events):
        yield Watching(events)
