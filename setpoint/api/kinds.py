"""Which kinds are served, under which paths.

Built from the registry of :mod:`state.resources`; the API adds nothing that a kind does not say of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from state.objects import Key, Object


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column, as in apiextensions/v1. ``type``: string, integer, boolean or date; ``priority`` > 0: wide only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """One served kind. ``group`` is empty for core/v1."""

    kind: str
    plural: str
    singular: str
    group: str
    version: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    status: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """Where its group and version live."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def item_path(self) -> str:
        """The route of one object."""
        scope = "/namespaces/{namespace}" if self.namespaced else ""
        return f"{self.prefix}{scope}/{self.plural}/{{name}}"

    def key(self, namespace: str, name: str) -> Key:
        return Key(self.kind, namespace, name)


class Kinds:
    """The served kinds, by name and by group."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._all = tuple(kinds)
        self._by_name = {kind.kind: kind for kind in self._all}

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._all)

    def of(self, obj: Object) -> Kind | None:
        """The kind of an object, if it and its apiVersion are served."""
        kind = self._by_name.get(str(obj.get("kind", "")))
        return kind if kind is not None and kind.api_version == obj.get("apiVersion") else None

    def groups(self) -> Mapping[tuple[str, str], tuple[Kind, ...]]:
        """(group, version) -> kinds, in the order of registration."""
        found: dict[tuple[str, str], tuple[Kind, ...]] = {}
        for kind in self._all:
            at = (kind.group, kind.version)
            found[at] = (*found.get(at, ()), kind)
        return found
