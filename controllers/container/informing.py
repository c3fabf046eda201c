"""Turns what happens into keys: changes in the store, events of containerd, images that arrive. Events only enqueue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from controllers.container.ports import Instance
from controllers.container.references import references
from controllers.container.sweep import remains
from controllers.engine.ports import Clock, Log
from state.errors import Gone, StateError
from state.objects import Key, Object
from state.store import Selection, StoreReader, WatchEvent

Enqueue = Callable[[Key], None]
RETRY_S = 1.0


class Informer:
    """Follows Containers and what they refer to, and enqueues the Containers concerned."""

    def __init__(self, store: StoreReader, enqueue: Enqueue, clock: Clock, log: Log) -> None:
        self._store, self._enqueue, self._clock, self._log = store, enqueue, clock, log
        self._users: dict[Key, set[Key]] = defaultdict(set)
        self._uses: dict[Key, frozenset[Key]] = {}
        self._by_uid: dict[str, Key] = {}

    async def keys(self) -> Sequence[tuple[Key, int]]:
        """All Containers with their priorities: what the engine starts with, and resyncs."""
        listed = []
        for stored in (await self._store.list(Selection("Container"))).items:
            obj = stored.object
            self._learn(stored.key, stored.uid, obj)
            listed.append((stored.key, int((obj.get("spec") or {}).get("priority", 0))))
        return listed

    def wake(self, instance: Instance) -> None:
        """containerd says that this instance may have changed."""
        key = self._by_uid.get(instance.uid)
        self._enqueue(key if key is not None else remains(instance.uid))

    async def follow(self, kind: str) -> None:
        """For ever: the changes of one kind. A broken or compacted watch begins again with all that there is."""
        while True:
            try:
                async for event in self._store.watch(Selection(kind)):
                    self._heard(event)
            except Gone:
                pass
            except StateError as error:
                self._log.warning("watch broke", kind=kind, error=error.message)
            await self._clock.sleep(RETRY_S)

    def _heard(self, event: WatchEvent) -> None:
        if event.stored is None:
            return
        key = event.stored.key
        if key.kind == "Node":
            self._enqueue(key)
        elif key.kind != "Container":
            for user in self._users.get(key, ()):
                self._enqueue(user)
        elif event.type == "DELETED":
            self._learn(key, "", {})
            self._by_uid.pop(event.stored.uid, None)
            self._enqueue(remains(event.stored.uid))
            self._enqueue(key)
        else:
            self._learn(key, event.stored.uid, event.stored.object)
            self._enqueue(key)

    def _learn(self, key: Key, uid: str, obj: Object) -> None:
        if uid:
            self._by_uid[uid] = key
        in_env, in_volumes = references(obj.get("spec") or {})
        uses = frozenset(Key(kind, key.namespace, name) for kind, name in in_env | in_volumes)
        before = self._uses.get(key, frozenset())
        for gone in before - uses:
            self._users[gone].discard(key)
        for new in uses - before:
            self._users[new].add(key)
        if uses:
            self._uses[key] = uses
        else:
            self._uses.pop(key, None)
