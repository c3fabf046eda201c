"""What a store needs of the world: the wall clock and fresh names; and times as objects show them."""

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


def rfc3339_micro(time: datetime) -> str:
    """With six digits of fraction, as Kubernetes writes a ``MicroTime``: two of them in one second differ."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: object) -> datetime | None:
    """An RFC 3339 time with any number of digits, aware (UTC where it names no zone); None for what is none."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
