"""The engine's numbers, each with its unit and its why."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from controllers.engine.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Settings:
    overdue_limit: int = 64
    """Passes that may hang without a slot; beyond it a hung pass keeps its slot, so that tasks and descriptors stay bounded."""

    backoff: Backoff = field(default_factory=Backoff)
    """Between failed passes of one key."""

    floor: timedelta = timedelta(milliseconds=500)
    """Events cut a back-off short, but no sooner than this after the failure: a failing pass often causes events itself."""

    patience: timedelta = timedelta(seconds=30)
    """Of keys that have been due for longer, one in four turns serves the oldest, before every priority."""

    again_limit: int = 20
    """Passes in a row that may ask for another one at once; after that they back off, since they do not converge."""
