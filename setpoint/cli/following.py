"""Watches that last: lists first, goes on over breaks, and ends at a deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from state.errors import Gone
from state.objects import Object
from state.resources.types import ResourceType

if TYPE_CHECKING:
    from setpoint.client import Client


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time on the monotonic clock; ``at`` None is never."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """0 is no limit."""
        return cls(time.monotonic() + seconds if seconds > 0 else None)

    @property
    def left_s(self) -> float | None:
        return None if self.at is None else self.at - time.monotonic()

    @property
    def over(self) -> bool:
        return self.left_s is not None and self.left_s <= 0

    @property
    def whole_s(self) -> int:
        """For ``timeoutSeconds``: rounded up, 0 is the server's own choice."""
        return 0 if self.left_s is None else max(1, math.ceil(self.left_s))


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at one object: as it is, or as it last was. ``obj`` None: it was not there when we came."""

    obj: Object | None
    gone: bool


def one(client: Client, kind: ResourceType, namespace: str, name: str, deadline: Deadline) -> Iterator[Sight]:
    """The object now, and after every change. Ends at the deadline. Raises AgentUnreachable."""
    fields = f"metadata.name={name}"
    while not deadline.over:
        listing = client.list(kind, namespace, fields=fields)
        items = listing["items"]
        yield Sight(items[0] if items else None, not items)
        since = listing["metadata"]["resourceVersion"]
        try:
            while not deadline.over:
                for change in client.watch(kind, namespace, fields=fields, since=since, timeout_s=deadline.whole_s):
                    since = change.object["metadata"]["resourceVersion"]
                    if change.type != "BOOKMARK":
                        yield Sight(change.object, change.type == "DELETED")
        except Gone:
            continue


def changes(
    client: Client, kind: ResourceType, namespace: str, *, labels: str, fields: str, since: str
) -> Iterator[tuple[str, Object]]:
    """(ADDED, MODIFIED or DELETED, object) for ever."""
    while True:
        try:
            for change in client.watch(kind, namespace, labels=labels, fields=fields, since=since):
                since = change.object["metadata"]["resourceVersion"]
                if change.type != "BOOKMARK":
                    yield change.type, change.object
        except Gone:
            since = ""
