"""Waiting for what a test wants to see, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], *, within_s: float = 10.0, what: str | Callable[[], str] = "") -> T:
    """The first true answer of ``look``; AssertionError when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what() if callable(what) else what or look}")
        time.sleep(0.01)
