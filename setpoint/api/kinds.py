"""Which kinds are served, under which paths: the table of :mod:`state.resources.types`, as routes need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from state.objects import Key, Object
from state.resources.types import TYPES, ResourceType


def item_path(kind: ResourceType) -> str:
    """The route of one object."""
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    return f"{kind.path}{scope}/{kind.plural}/{{name}}"


def named(obj: Object) -> Key | None:
    """The key of an object that names itself properly; None leaves the rest to the store, whose error is better."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict):
        return None
    parts = (obj.get("kind"), meta.get("namespace") or "", meta.get("name"))
    if not (all(isinstance(part, str) for part in parts) and parts[2]):
        return None
    return Key(*(str(part) for part in parts))


class Kinds:
    """The served kinds, by name and by group."""

    def __init__(self, kinds: Iterable[ResourceType] = TYPES) -> None:
        self._all = tuple(kinds)
        self._by_name = {kind.kind: kind for kind in self._all}

    def __iter__(self) -> Iterator[ResourceType]:
        return iter(self._all)

    def of(self, obj: Object) -> ResourceType | None:
        """The kind of an object, if it and its apiVersion are served."""
        kind = self._by_name.get(str(obj.get("kind", "")))
        return kind if kind is not None and kind.api_version == obj.get("apiVersion") else None

    def groups(self) -> Mapping[tuple[str, str], tuple[ResourceType, ...]]:
        """(group, version) -> kinds, in the order of registration."""
        found: dict[tuple[str, str], tuple[ResourceType, ...]] = {}
        for kind in self._all:
            at = (kind.group, kind.version)
            found[at] = (*found.get(at, ()), kind)
        return found
