"""Which lists of an object are maps or sets when several managers write it; every other list is atomic.

The same knowledge as ``x-kubernetes-list-type`` and ``x-kubernetes-list-map-keys`` of a CRD, in the shape that
:mod:`state.apply` walks. A list whose items lack a key, or repeat one, is treated as atomic where it stands, so that no
object that its schema allows cannot be applied. The table itself is ``ResourceType.lists``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from state.resources.types import by_kind

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ListKeys:
    """One place of an object: how the list there merges, and the places below (of a map, or of the items of a list)."""

    type: Literal["atomic", "map", "set"] = "atomic"
    keys: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    """Values of keys that an item may leave out, such as ``protocol: TCP``."""
    below: Mapping[str, ListKeys] = field(default_factory=lambda: _NONE)

    def child(self, name: str) -> ListKeys:
        """The place one field further down."""
        return self.below.get(name, ATOMIC)


ATOMIC = ListKeys()
SET = ListKeys(type="set")


def by(*keys: str, **defaults: Any) -> ListKeys:
    """A list of objects, told apart by these fields."""
    return ListKeys(type="map", keys=tuple(sorted(keys)), defaults=MappingProxyType(defaults))


def tree(table: Mapping[str, ListKeys]) -> ListKeys:
    """The table ``{"spec.env": by("name"), ...}`` as one tree; a path crosses lists without saying so."""
    heads: dict[str, dict[str, ListKeys]] = {}
    own: dict[str, ListKeys] = {}
    for path, rule in table.items():
        head, _, rest = path.partition(".")
        if rest:
            heads.setdefault(head, {})[rest] = rule
        else:
            own[head] = rule
    below: dict[str, ListKeys] = {}
    for head in {*heads, *own}:
        rule, deeper = own.get(head, ATOMIC), tree(heads.get(head, {}))
        below[head] = ListKeys(rule.type, rule.keys, rule.defaults, deeper.below)
    return ListKeys(below=MappingProxyType(below))


@lru_cache(maxsize=256)
def list_keys(kind: str) -> ListKeys:
    """The tree of a kind, from its ``ResourceType.lists``; a kind that is not known has none."""
    known = by_kind(kind)
    lists = known.lists if known else {}
    return tree({path: by(*keys) if keys else SET for path, keys in lists.items()})
