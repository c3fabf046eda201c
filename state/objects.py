"""Names and shapes of stored objects, free of any kind and any store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

Object = dict[str, Any]
"""A JSON object as the API shows it. Treated as frozen once it came out of a store: copy before changing."""

GROUP = "setpoint.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINALIZER = f"{GROUP}/node"
"""Held by every Container from the commit that makes it until nothing of it is left on the node."""


class Key(NamedTuple):
    """Which object: ``kind`` as in the manifest, ``namespace`` is ``""`` for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object at one revision. ``body`` is its JSON (UTF-8), served by the API as it is."""

    key: Key
    uid: str
    revision: int
    body: bytes

    @property
    def object(self) -> Object:
        """A fresh parse of ``body``: the caller owns it."""
        parsed: Object = json.loads(self.body)
        return parsed


def key_of(obj: Object) -> Key:
    """The key that an object names itself; missing parts are empty strings."""
    meta = obj.get("metadata") or {}
    return Key(obj.get("kind", ""), meta.get("namespace", ""), meta.get("name", ""))
