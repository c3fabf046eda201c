"""What a store needs of the world: the wall clock, for the times that objects show, and fresh names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class WallClock(Protocol):
    """``controllers.engine.ports.Clock`` is one."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""


class Ids(Protocol):
    """``controllers.engine.ports.Ids`` is one."""

    def uid(self) -> str:
        """A new random UUID, lower case with dashes."""


def rfc3339(time: datetime) -> str:
    """Whole seconds, as Kubernetes writes ``creationTimestamp``."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
