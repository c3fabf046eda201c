"""Which process a piece of code belongs to, in a world where processes are killed."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Life:
    """One incarnation of the program under test. Once ``dead``, nothing of it runs again: no ``finally``, no ``except``."""

    number: int
    dead: bool = False


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)
"""Inherited by every task, timer and callback that a life starts; None in the harness and in the world around it."""
