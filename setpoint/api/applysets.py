"""``POST /setpoint/v1/apply``: many objects at once, and what was taken out of their file.

An apply set is a name. Its members carry the label ``setpoint.dev/applyset: NAME``, written by the same apply that makes
or changes them; nothing else is kept, so the set is always what the label says.

With ``prune``, members that the request does not list are deleted *after* the apply. The apply is one transaction, the
deletions are not part of it. A crash between them leaves members with the label and without a line in the file, which is
exactly what the next apply of the set looks for: it finishes the pruning. Nothing can be pruned that the set never held,
and a member is deleted only in the very revision in which it was seen to be one.

- An object is a member of one set at most: applying another's member is a Conflict that names the set.
- Applying a member without its set gives up the label with every other field that the manager no longer applies: the
  object leaves the set and lives on.
- Namespaces are never pruned: with them would go what the set never listed.
- An empty list of objects with ``prune`` empties the set.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from setpoint.api.kinds import Kinds, named
from setpoint.api.resources import take_from
from state.errors import BadRequest, Conflict, NotFound
from state.objects import GROUP, Key, Object, Stored
from state.store import Applied, Apply, DeleteOptions, Preconditions, Selection, Store

LABEL = f"{GROUP}/applyset"
PRUNED_KINDS_NOT = frozenset({"Namespace", "Node", "Event"})
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PRUNE_TRIES = 5


@dataclass(frozen=True, slots=True)
class ApplyCall:
    """The request, read and checked for form; what is in the objects is the store's to judge."""

    objects: tuple[Object, ...]
    manager: str = "setpoint"
    force: bool = False
    take_from: frozenset[str] = frozenset()
    dry_run: bool = False
    create_namespaces: bool = False
    set_name: str = ""
    prune: bool = False

    @classmethod
    def of(cls, body: Object) -> ApplyCall:
        """Raises BadRequest."""
        known = {"objects", "manager", "force", "takeFrom", "dryRun", "createNamespaces", "applySet"}
        unknown = sorted(set(body) - known)
        if unknown:
            raise BadRequest(f"unknown field {unknown[0]!r} in an apply request")
        manager = _typed(body, "manager", str, "setpoint")
        chosen = _typed(body, "applySet", dict, {})
        name = _typed(chosen, "name", str, "")
        if chosen and not _NAME.fullmatch(name):
            raise BadRequest(f"applySet.name {name!r} must be a DNS-1123 label: lower case letters, digits and dashes")
        taken = _typed(body, "takeFrom", list, None)
        if taken is not None and not all(isinstance(one, str) for one in taken):
            raise BadRequest("takeFrom must be a list of field managers")
        return cls(
            objects=_objects(body),
            manager=manager,
            force=_typed(body, "force", bool, False),
            take_from=take_from(manager) if taken is None else frozenset(taken),
            dry_run=_typed(body, "dryRun", bool, False),
            create_namespaces=_typed(body, "createNamespaces", bool, False),
            set_name=name,
            prune=_typed(chosen, "prune", bool, False),
        )


def _typed(body: Object, field: str, kind: type, default: Any) -> Any:
    value = body.get(field)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise BadRequest(f"{field} must be a {kind.__name__}, not {value!r}")
    return value


def _objects(body: Object) -> tuple[Object, ...]:
    """The objects, named and each once; a core/v1 ``List`` is unpacked."""
    given = _typed(body, "objects", list, [])
    flat: list[Object] = []
    for index, one in enumerate(given):
        if not isinstance(one, dict):
            raise BadRequest(f"objects[{index}] must be an object")
        if one.get("kind") == "List" and one.get("apiVersion") == "v1":
            flat.extend(item for item in one.get("items") or () if isinstance(item, dict))
        else:
            flat.append(one)
    return tuple(flat)


class ApplySets:
    """Applies and prunes. One at a time per set, so that two never prune each other's additions."""

    def __init__(self, store: Store, kinds: Kinds) -> None:
        self._store = store
        self._kinds = kinds
        self._locks: dict[str, asyncio.Lock] = {}

    async def apply(self, call: ApplyCall) -> list[Object]:
        """What happened to each object, in order, pruned ones last."""
        if not call.set_name:
            return await self._apply(call)
        lock = self._locks.setdefault(call.set_name, asyncio.Lock())
        async with lock:
            results = await self._apply(call)
            if call.prune:
                keep = {key for obj in self._prepared(call) if (key := named(obj))}
                results += await self._prune(call, keep)
            return results

    async def _apply(self, call: ApplyCall) -> list[Object]:
        objects = self._prepared(call)
        _refuse_twins(objects)
        if call.set_name:
            await self._refuse_strangers(objects, call.set_name)
        if call.create_namespaces:
            objects = [*await self._missing_namespaces(objects), *objects]
        requests = [Apply(obj, call.manager, call.force, call.take_from) for obj in objects]
        applied = await self._store.apply(requests, dry_run=call.dry_run) if requests else []
        return [_result(one) for one in applied]

    def _prepared(self, call: ApplyCall) -> list[Object]:
        """Namespace ``default`` where none is named, and the set's label."""
        prepared = []
        for obj in call.objects:
            kind = self._kinds.of(obj)
            meta = obj.get("metadata")
            if kind is None or not isinstance(meta, dict):
                # The store's error is better than ours: it knows what was meant.
                prepared.append(obj)
                continue
            meta = dict(meta)
            if kind.namespaced and meta.get("namespace") in (None, ""):
                meta["namespace"] = "default"
            labels = {} if meta.get("labels") is None else meta["labels"]
            if call.set_name and isinstance(labels, dict):
                meta["labels"] = {**labels, LABEL: call.set_name}
            prepared.append({**obj, "metadata": meta})
        return prepared

    async def _refuse_strangers(self, objects: Sequence[Object], name: str) -> None:
        for obj in objects:
            key = named(obj)
            if key is None or self._kinds.of(obj) is None:
                continue
            stored = await self._seen(key)
            owner = _set_of(stored) if stored is not None else ""
            if owner not in ("", name):
                raise Conflict(
                    f"{key} belongs to the apply set {owner!r}; take it out there first", kind=key.kind, name=key.name
                )

    async def _missing_namespaces(self, objects: Sequence[Object]) -> list[Object]:
        keys = [key for obj in objects if (key := named(obj))]
        given = {key.name for key in keys if key.kind == "Namespace"}
        wanted = sorted({key.namespace for key in keys if key.namespace} - given)
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in wanted
            if await self._seen(Key("Namespace", "", name)) is None
        ]

    async def _prune(self, call: ApplyCall, keep: set[Key]) -> list[Object]:
        results = []
        for kind in self._kinds:
            if kind.kind in PRUNED_KINDS_NOT:
                continue
            listing = await self._store.list(Selection(kind.kind, labels=f"{LABEL}={call.set_name}"))
            for stored in listing.items:
                if stored.key not in keep and not stored.object["metadata"].get("deletionTimestamp"):
                    gone = await self._prune_one(stored, call)
                    results += [{"outcome": "pruned", "object": gone.object, "taken": []}] if gone else []
        return results

    async def _prune_one(self, seen: Stored, call: ApplyCall) -> Stored | None:
        """Deletes it if it still is a member. Somebody may write to it meanwhile: then look again."""
        member: Stored | None = seen
        for attempt in range(_PRUNE_TRIES):
            if member is None or member.uid != seen.uid or _set_of(member) != call.set_name:
                return None
            only = DeleteOptions(Preconditions(uid=member.uid, revision=member.revision))
            try:
                return await self._store.delete(member.key, only, dry_run=call.dry_run)
            except NotFound:
                return None
            except Conflict as exc:
                if attempt == _PRUNE_TRIES - 1:
                    raise Conflict(f"applied, but {seen.key} was not pruned: {exc.message}; apply again to finish") from exc
                member = await self._seen(seen.key)
        return None

    async def _seen(self, key: Key) -> Stored | None:
        try:
            return await self._store.get(key)
        except NotFound:
            return None


def _refuse_twins(objects: Sequence[Object]) -> None:
    seen: set[Key] = set()
    for obj in objects:
        key = named(obj)
        if key is None:
            continue
        if key in seen:
            raise BadRequest(f"{key} is given twice")
        seen.add(key)


def _set_of(stored: Stored) -> str:
    labels = stored.object["metadata"].get("labels") or {}
    return str(labels.get(LABEL, ""))


def _result(applied: Applied) -> Object:
    return {"outcome": applied.outcome, "object": applied.stored.object, "taken": [list(pair) for pair in applied.taken]}
