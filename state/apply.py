"""Server-side apply on objects, pure: who owns which field, what an apply changes, and who is in its way.

Inputs are never changed. Times come in as the text that goes into ``managedFields``. Source of the rules: the Kubernetes
reference on server-side apply and structured-merge-diff. Different on purpose: null in an applied object is "not named", and
a create owns what the client sent, not the defaults that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from state.errors import BadRequest, Cause, Conflict, Invalid
from state.fieldset import ITEM, Fields, Path, copied, decode, encode, keyed, leaves, shown, with_parents
from state.listkeys import ListKeys
from state.objects import Object

Operation = Literal["Apply", "Update"]

SYSTEM_FIELDS = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "selfLink",
    }
)
"""Fields of ``metadata`` that nobody owns: the store writes them."""


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of ``metadata.managedFields``."""

    name: str
    operation: Operation
    subresource: str
    api_version: str
    time: str
    fields: Fields

    @property
    def id(self) -> tuple[str, str, str]:
        return self.name, self.operation, self.subresource


@dataclass(frozen=True, slots=True)
class Outcome:
    """The object after an apply, and (field path, former manager) for every field taken from another one."""

    object: Object
    taken: tuple[tuple[str, str], ...] = ()


def managers_of(obj: Object) -> list[Manager]:
    """The entries of an object. Raises Invalid for entries that cannot be read."""
    found = []
    for index, entry in enumerate(obj.get("metadata", {}).get("managedFields") or ()):
        try:
            found.append(
                Manager(
                    name=entry.get("manager", ""),
                    operation="Apply" if entry.get("operation") == "Apply" else "Update",
                    subresource=entry.get("subresource", ""),
                    api_version=entry.get("apiVersion", ""),
                    time=entry.get("time", ""),
                    fields=decode(entry.get("fieldsV1") or {}),
                )
            )
        except (AttributeError, TypeError, ValueError) as exc:
            raise Invalid(
                "the managed fields cannot be read", causes=[Cause(f"metadata.managedFields[{index}]", str(exc))]
            ) from exc
    return found


def apply(
    live: Object | None,
    config: Object,
    *,
    manager: str,
    now: str,
    keys: ListKeys,
    force: bool = False,
    take_from: Collection[str] = (),
    admit: Callable[[Object], Object] = copied,
) -> Outcome:
    """``live`` as it is once ``manager`` declared ``config``. ``live=None``: it is made.

    ``admit`` turns the merged object into the one to be stored (write rules, defaults, validation); conflicts are looked for
    after it, so that a default or another spelling of the same value is none. Raises Conflict with the owners named,
    Invalid without a manager, BadRequest if ``config`` brings managed fields.
    """
    _check(config, manager)
    wanted = _declared(config, made=live is None)
    named = owned_leaves(wanted, "", keys)
    entries = managers_of(live) if live else []
    mine = (manager, "Apply", "")
    own = next((entry for entry in entries if entry.id == mine), None)
    before = own.fields if own else Fields()
    others = [entry for entry in entries if entry.id != mine]

    merged = merge(live, wanted, keys) if live else wanted
    dropped = before - named.keys()
    if dropped:
        merged = remove(merged, dropped, [named, *(entry.fields for entry in others)], keys)
    final = admit(merged)
    old, after = (leaves(live, keys) if live else {}), leaves(final, keys)
    touched = _touched(old, after, named)
    others, taken = _settle(others, touched, force, take_from)

    present = with_parents(after)
    fields = Fields(path for path in named if path in present)
    time = own.time if own and own.fields == fields and not touched else now
    entry = Manager(manager, "Apply", "", str(final.get("apiVersion", "")), time, fields)
    return Outcome(_with_managers(final, [*(_pruned(other, present) for other in others), entry], entries), taken)


def track(
    old: Object | None,
    new: Object,
    *,
    manager: str,
    now: str,
    keys: ListKeys,
    subresource: str = "",
    sent: Object | None = None,
) -> Object:
    """``new`` with the managed fields that a create, update or patch by ``manager`` leaves behind.

    ``new`` brings the entries to start from in its own metadata: the old ones, or what the client put in their place.
    ``sent`` limits what a create owns to what the client named.
    """
    before, after = (leaves(old, keys) if old else {}), leaves(new, keys)
    scope = owned_leaves(new, subresource, keys).keys()
    changed = _changed(before, after)
    gained = changed & scope
    if sent is not None:
        gained = gained & leaves(sent, keys).keys()
    mine = (manager, "Update", subresource)
    present = with_parents(after)
    left: list[Manager] = []
    own: Manager | None = None
    for entry in managers_of(new):
        if entry.id == mine:
            own = entry
        else:
            left.append(_pruned(_without(entry, changed), present))
    held = own.fields if own else Fields()
    time = own.time if own and not gained else now
    fields = Manager(manager, "Update", subresource, str(new.get("apiVersion", "")), time, held | gained)
    return _with_managers(new, [*left, _pruned(fields, present)], managers_of(old) if old else [])


def owned_leaves(obj: Object, subresource: str, keys: ListKeys) -> dict[Path, Any]:
    """What a manager can own of this object through this subresource."""
    if subresource == "status":
        part = {"status": obj["status"]} if "status" in obj else {}
    else:
        part = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata", "status")}
        meta = {name: value for name, value in (obj.get("metadata") or {}).items() if name not in SYSTEM_FIELDS}
        if meta:
            part["metadata"] = meta
    return leaves(part, keys) if part else {}


def merge(live: Any, config: Any, rule: ListKeys) -> Any:
    """``config`` laid over ``live``: maps by field, keyed lists by item, all else replaced."""
    if isinstance(live, dict) and isinstance(config, dict):
        merged = {
            name: merge(value, config[name], rule.child(name)) if name in config else copied(value)
            for name, value in live.items()
        }
        return merged | {name: copied(value) for name, value in config.items() if name not in live}
    theirs, ours = keyed(live, rule), keyed(config, rule)
    if theirs is None or ours is None:
        return copied(config)
    return [
        copied(theirs[key]) if key not in ours else merge(theirs.get(key), ours[key], ListKeys(below=rule.below))
        for key in _interleaved(list(theirs), list(ours))
    ]


def remove(obj: Any, paths: Iterable[Path], owned: Sequence[Collection[Path]], keys: ListKeys) -> Any:
    """``obj`` without ``paths``, except what somebody owns; maps and lists left empty go with their last member."""
    kept = {path for fields in owned for path in fields}
    guarded = with_parents(kept)
    gone = {path for path in paths if path not in guarded}
    return _pruned_tree(copied(obj), keys, (), gone, with_parents(gone), guarded)


def without_nulls(value: Any) -> Any:
    """A copy in which no map holds null: an applied null names nothing."""
    if isinstance(value, dict):
        return {name: without_nulls(child) for name, child in value.items() if child is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _check(config: Object, manager: str) -> None:
    if not manager:
        raise Invalid(
            "apply needs a field manager",
            causes=[Cause("fieldManager", "is required for apply patch", "FieldValueRequired")],
        )
    if (config.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be empty in an applied object")


def _declared(config: Object, *, made: bool) -> Object:
    """What ``config`` says of the object itself, its identity left out unless it is to be made."""
    wanted: Object = without_nulls(config)
    wanted.pop("status", None)
    kept = {"name", "namespace", "generateName"} if made else set()
    meta = wanted.get("metadata") or {}
    wanted["metadata"] = {name: value for name, value in meta.items() if name in kept or name not in SYSTEM_FIELDS}
    return wanted


def _touched(old: dict[Path, Any], after: dict[Path, Any], named: dict[Path, Any]) -> set[Path]:
    """The changed fields that the applied ones are to blame for: themselves, what lay below one that is now whole, and a
    value that had to give way to a map. What admission did elsewhere is nobody's conflict; nor is a map or list that
    was empty and no longer is, or the other way round, for it is there all the same."""
    above = with_parents(named)
    whole = {path for path, value in named.items() if value not in ({}, [], ITEM)}
    touched = {
        path
        for path in _changed(old, after)
        if path in named
        or (path in above and path in old and old[path] != ITEM)
        or any(path[:end] in whole for end in range(1, len(path)))
    }
    empty = {path for path in touched if (path in old) != (path in after) and after.get(path, old.get(path)) in ({}, [])}
    return touched - (empty & with_parents(old) & with_parents(after)) if empty else touched


def _changed(before: dict[Path, Any], after: dict[Path, Any]) -> set[Path]:
    """Fields added, removed or of another value. JSON tells 1 from true, Python does not."""
    changed = before.keys() ^ after.keys()
    for path in before.keys() & after.keys():
        old, new = before[path], after[path]
        if old != new or isinstance(old, bool) is not isinstance(new, bool):
            changed.add(path)
    return changed


def _settle(
    others: Sequence[Manager], changed: set[Path], force: bool, take_from: Collection[str]
) -> tuple[list[Manager], tuple[tuple[str, str], ...]]:
    """Takes the changed fields away from those who must give way; raises Conflict if somebody need not."""
    left, taken, causes = [], [], []
    for entry in others:
        overlap = sorted(entry.fields & changed)
        if overlap and not force and entry.name not in take_from:
            at = f" at {entry.time}" if entry.operation == "Update" and entry.time else ""
            message = f'conflict with "{entry.name}" using {entry.api_version}{at}'
            causes += [Cause(shown(path), message, "FieldManagerConflict") for path in overlap]
        taken += [(shown(path), entry.name) for path in overlap]
        left.append(_without(entry, changed))
    if causes:
        count = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
        owners = "; ".join(f"{cause.message}: {cause.field}" for cause in causes)
        raise Conflict(f"Apply failed with {count}: {owners}", causes=causes)
    return left, tuple(taken)


def _without(entry: Manager, paths: Collection[Path]) -> Manager:
    fields = entry.fields.difference(paths)
    return entry if len(fields) == len(entry.fields) else _replace(entry, fields)


def _pruned(entry: Manager, present: Collection[Path]) -> Manager:
    fields = Fields(path for path in entry.fields if path in present)
    return entry if len(fields) == len(entry.fields) else _replace(entry, fields)


def _replace(entry: Manager, fields: Fields) -> Manager:
    return Manager(entry.name, entry.operation, entry.subresource, entry.api_version, entry.time, fields)


def _with_managers(obj: Object, entries: Iterable[Manager], former: Iterable[Manager]) -> Object:
    """The object with these entries, in their former order and new ones last; an empty one goes."""
    order = {entry.id: index for index, entry in enumerate(former)}
    left = sorted((entry for entry in entries if entry.fields), key=lambda entry: order.get(entry.id, len(order)))
    meta = {name: value for name, value in obj.get("metadata", {}).items() if name != "managedFields"}
    if left:
        meta["managedFields"] = [_entry(entry) for entry in left]
    return {**obj, "metadata": meta}


def _entry(entry: Manager) -> Object:
    written: Object = {
        "manager": entry.name,
        "operation": entry.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(entry.fields),
    }
    if entry.subresource:
        written["subresource"] = entry.subresource
    return written


def _interleaved(theirs: list[str], ours: list[str]) -> list[str]:
    """Both orders in one: ours is kept, and what only they have stays behind its neighbour."""
    wanted, order, at = set(ours), [], 0
    for key in ours:
        while at < len(theirs) and theirs[at] not in wanted:
            order.append(theirs[at])
            at += 1
        order.append(key)
        if at < len(theirs) and theirs[at] == key:
            at += 1
    seen = set(order)
    return order + [key for key in theirs[at:] if key not in seen]


def _pruned_tree(value: Any, rule: ListKeys, path: Path, gone: set[Path], above: set[Path], guarded: set[Path]) -> Any:
    """Walks only where something goes (``above``)."""
    if isinstance(value, dict):
        for name in list(value):
            here = (*path, "f:" + name)
            if here in above:
                _drop(value, name, _left(value[name], rule.child(name), here, gone, above, guarded))
        return value
    items = keyed(value, rule)
    if items is None:
        return value
    left = []
    for key, item in items.items():
        here = (*path, key)
        if here in gone:
            continue
        if here in above:
            names = {name: item[name] for name in rule.keys if name in item}
            item = names | _pruned_tree(item, ListKeys(below=rule.below), here, gone, above, guarded)
        left.append(item)
    return left


_GONE = object()


def _left(value: Any, rule: ListKeys, path: Path, gone: set[Path], above: set[Path], guarded: set[Path]) -> Any:
    if path in gone:
        return _GONE
    had = bool(value)
    value = _pruned_tree(value, rule, path, gone, above, guarded)
    emptied = had and isinstance(value, (dict, list)) and not value
    return _GONE if emptied and path not in guarded else value


def _drop(owner: dict[str, Any], name: str, value: Any) -> None:
    if value is _GONE:
        del owner[name]
    else:
        owner[name] = value


def track_status(new: Object, *, manager: str, now: str) -> Object:
    """``new`` with one fixed entry that says ``manager`` writes the whole status: nothing is compared."""
    entries = new["metadata"].get("managedFields") or []
    if any(entry.get("manager") == manager and entry.get("subresource") == "status" for entry in entries):
        return new
    mine = Manager(manager, "Update", "status", str(new.get("apiVersion", "")), now, Fields({("f:status",)}))
    return {**new, "metadata": {**new["metadata"], "managedFields": [*entries, _entry(mine)]}}
