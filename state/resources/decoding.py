"""A safe copy of what came in: nothing later has to fear its depth, its numbers or its characters."""

from __future__ import annotations

import math
from typing import Any

from state.errors import BadRequest, Cause, TooLarge
from state.objects import Object
from state.resources.fields import INT64, INVALID

DEEPEST = 64
OBJECT_BYTES = 1536 * 1024
"""The most that one object may hold as JSON: etcd's limit, so that the same objects fit both homes."""
_MOST_NODES = 400_000


def copied(obj: object) -> Object:
    """A deep copy without nulls in ``metadata``, ``spec`` and data; ``status`` keeps its own.

    Raises BadRequest for what JSON in UTF-8 cannot carry or Kubernetes cannot read, TooLarge for more than can be right.
    """
    if not isinstance(obj, dict):
        raise BadRequest(f"an object must be a JSON object, not {json_type(obj)}")
    copier = _Copier()
    return {
        copier.key(key, ""): copier.value(value, str(key), 1, keep_nulls=key == "status")
        for key, value in obj.items()
        if value is not None
    }


def json_type(value: object) -> str:
    """The JSON name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


class _Copier:
    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes = 0

    def value(self, value: Any, path: str, depth: int, *, keep_nulls: bool) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value, path)
        if value is None or kind is bool:
            return value
        if kind is int:
            if not -INT64 - 1 <= value <= INT64:
                raise _bad(path, "number is beyond 64 bits")
            return value
        if kind is float:
            if not math.isfinite(value):
                raise _bad(path, "NaN and infinity are no JSON numbers")
            return value
        if depth > DEEPEST:
            raise _bad(path[:80] + "...", f"nested deeper than {DEEPEST} levels")
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise TooLarge("the object has too many parts")
        if kind is dict:
            return {
                self.key(key, path): self.value(item, f"{path}.{key}", depth + 1, keep_nulls=keep_nulls)
                for key, item in value.items()
                if keep_nulls or item is not None
            }
        if kind is list or kind is tuple:
            return [self.value(item, f"{path}[{at}]", depth + 1, keep_nulls=keep_nulls) for at, item in enumerate(value)]
        raise _bad(path, f"{kind.__name__} is no JSON type: put it in quotes if it is meant as text")

    def text(self, value: str, path: str) -> str:
        if "\0" in value:
            raise _bad(path, "must not contain the character NUL")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _bad(path, "is not valid UTF-8") from None
        return value

    def key(self, key: Any, path: str) -> str:
        if type(key) is not str:
            raise _bad(path, f"the key {key!r:.40} must be a string: put it in quotes")
        return self.text(key, path)


def _bad(path: str, message: str) -> BadRequest:
    path = path.encode(errors="replace").decode().replace("\0", "?")
    return BadRequest(f"{path}: {message}", causes=[Cause(path, message, INVALID)])
