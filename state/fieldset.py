"""Sets of fields as server-side apply keeps them: paths, and their ``fieldsV1`` form.

A path is a tuple of elements in the spelling of ``fieldsV1``: ``f:name`` a field, ``k:{"name":"A"}`` an item of a list that
is a map, ``v:"x"`` a member of a set. Source: sigs.k8s.io/structured-merge-diff, fieldpath/serialize.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from state.listkeys import ListKeys
from state.objects import Object

Path = tuple[str, ...]
Fields = frozenset[Path]

ITEM = "."
"""Stands for "the item is there" as the value of a list item's own path."""


def copied(value: Any) -> Any:
    """A deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def item_key(item: Any, rule: ListKeys) -> str | None:
    """The element that names this item, or None if the item cannot be told apart by the rule."""
    if rule.type == "set":
        return "v:" + _compact(item) if not isinstance(item, (dict, list)) else None
    if rule.type != "map" or not isinstance(item, dict):
        return None
    named = {key: item.get(key, rule.defaults.get(key)) for key in rule.keys}
    if any(value is None or isinstance(value, (dict, list)) for value in named.values()):
        return None
    return "k:" + _compact(named)


def keyed(value: Any, rule: ListKeys) -> dict[str, Any] | None:
    """The items by their element, in order; None if this list has to be taken as atomic."""
    if rule.type == "atomic" or not isinstance(value, list):
        return None
    items: dict[str, Any] = {}
    for item in value:
        key = item_key(item, rule)
        if key is None or key in items:
            return None
        items[key] = item
    return items


def leaves(value: Any, rule: ListKeys, path: Path = (), into: dict[Path, Any] | None = None) -> dict[Path, Any]:
    """Every field that can be owned, with its value: scalars, atomic lists, empty maps and lists, and items by themselves."""
    found: dict[Path, Any] = {} if into is None else into
    if isinstance(value, dict) and value:
        for name, child in value.items():
            leaves(child, rule.child(name), (*path, "f:" + name), found)
        return found
    items = keyed(value, rule) if value else None
    if items is None:
        found[path] = value
        return found
    for key, item in items.items():
        here = (*path, key)
        found[here] = ITEM
        if rule.type == "map":
            for name, child in item.items():
                leaves(child, rule.child(name), (*here, "f:" + name), found)
    return found


def with_parents(paths: Iterable[Path]) -> set[Path]:
    """The paths and everything above them."""
    found: set[Path] = set()
    for path in paths:
        for end in range(len(path), 0, -1):
            head = path[:end]
            if head in found:
                break
            found.add(head)
    return found


def encode(paths: Iterable[Path]) -> Object:
    """``fieldsV1``: nested, ``.`` marks a path that is a member itself and has members below."""
    root: Object = {}
    members = set(paths)
    inner = {path[:end] for path in members for end in range(1, len(path))}
    for path in sorted(members):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        if path in inner:
            node["."] = {}
    return root


def decode(fields: Any) -> Fields:
    """The inverse of :func:`encode`; raises ValueError for what is no ``fieldsV1``."""
    found: set[Path] = set()

    def walk(node: Any, path: Path) -> None:
        if not isinstance(node, Mapping):
            raise ValueError(f"fieldsV1: {'/'.join(path) or 'root'} is no object")
        if path and (not node or "." in node):
            found.add(path)
        for element, child in node.items():
            if element == ".":
                continue
            if element[:2] not in ("f:", "k:", "v:", "i:"):
                raise ValueError(f"fieldsV1: {element!r} is neither f:, k:, v: nor i:")
            walk(child, (*path, element))

    walk(fields, ())
    return frozenset(found)


def shown(path: Path) -> str:
    """The path as Kubernetes shows it in conflicts: ``.spec.env[name="A"].value``."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += "." + rest
        elif kind == "k:":
            named = orjson.loads(rest)
            text += "[" + ",".join(f"{key}={_compact(value)}" for key, value in named.items()) + "]"
        else:
            text += f"[{'=' if kind == 'v:' else ''}{rest}]"
    return text


def _compact(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
