"""Things of ours without an object: listed, adopted, removed, by explicit command only."""

from __future__ import annotations

from collections.abc import Sequence

from controllers.container.ports import Instance
from controllers.container.sweep import Sweep
from setpoint.api.operations import Orphan
from state.errors import Conflict, NotFound
from state.objects import API_VERSION, Key, Object, key_of
from state.sqlite.store import SqliteStore

ADOPTER = "setpoint-adopt"
SHORTEST_ID = 4


class OrphanActs:
    """Implements ``OrphanOperations``."""

    def __init__(self, sweep: Sweep, store: SqliteStore) -> None:
        self._sweep, self._store = sweep, store

    async def list(self) -> Sequence[Orphan]:
        return [_row(instance) for instance in await self._sweep.orphans()]

    async def adopt(self, id: str) -> Key:
        instance = await self._require(id)
        spec = (instance.declaration or {}).get("spec")
        if not spec:
            raise Conflict(f"{id} holds no declaration: it cannot be adopted, only removed")
        obj: Object = {
            "apiVersion": API_VERSION,
            "kind": "Container",
            "metadata": {"name": instance.name, "namespace": instance.namespace},
            "spec": spec,
        }
        await self._store.restore(obj, uid=instance.uid, manager=ADOPTER)
        return key_of(obj)

    async def remove(self, id: str) -> None:
        await self._sweep.bury(await self._require(id))

    async def _require(self, id: str) -> Instance:
        """By its id, or by the beginning of one (4 characters at least) that no other shares."""
        found = [i for i in await self._sweep.orphans() if i.id == id or (len(id) >= SHORTEST_ID and i.id.startswith(id))]
        exact = [i for i in found if i.id == id]
        if len(exact or found) > 1:
            raise Conflict(f"{id} is the beginning of {len(found)} orphans: {', '.join(i.id for i in found)}")
        if not found:
            raise NotFound(f"no orphan {id}", kind="Orphan", name=id)
        return (exact or found)[0]


def _row(instance: Instance) -> Orphan:
    said = instance.declaration or {}
    return Orphan(
        instance.id,
        instance.uid,
        instance.namespace,
        instance.name,
        instance.task or "none",
        instance.pid,
        said.get("image", ""),
        adoptable=bool(said.get("spec")),
        reason="no object has its uid, and none was deleted here",
    )
