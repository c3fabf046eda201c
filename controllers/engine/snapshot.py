"""What the engine is about, frozen: for ``info``, ``why`` and tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from state.objects import Key

KeyState = Literal["idle", "queued", "waiting", "running", "overdue"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """One key. ``idle``: nothing is planned but the resync; ``queued``: due, waits for a slot; ``waiting``: will be looked at
    in ``next``; ``running``: for ``elapsed``; ``overdue``: running past its deadline, without a slot. ``error`` is the last
    failure, kept until a pass succeeds or is refused."""

    key: Key
    state: KeyState
    next: timedelta | None = None
    elapsed: timedelta | None = None
    priority: int = 0
    failures: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole engine. ``queued`` is in order of service by priority, ``waiting`` by time, ``running`` by start."""

    queued: tuple[Outlook, ...]
    waiting: tuple[Outlook, ...]
    running: tuple[Outlook, ...]
    overdue: tuple[Outlook, ...]
    concurrency: int
    paused: bool
    booted: bool
