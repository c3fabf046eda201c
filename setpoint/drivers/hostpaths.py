"""Paths that belong to the host: made when asked, resolved below a base without following a symlink out of it.

Each call runs in a disposable thread: a path that hangs costs one thread, never the loop.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from setpoint.drivers.threads import DisposableThreads
from state.errors import Denied, Invalid

DEADLINE_S = 2.0


class HostFolders:
    """Implements ``HostPaths`` of the Container slice."""

    def __init__(self, threads: DisposableThreads) -> None:
        self._threads = threads

    async def make(self, path: str, kind: Literal["File", "Directory"]) -> None:
        await self._threads.run(path, lambda: _make(path, kind), DEADLINE_S)

    async def within(self, base: str, sub: str) -> str:
        return await self._threads.run(base, lambda: _within(base, sub), DEADLINE_S)


def _make(path: str, kind: str) -> None:
    target = Path(path)
    if target.exists():
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if kind == "Directory":
        target.mkdir(mode=0o755, exist_ok=True)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o644))


def _within(base: str, sub: str) -> str:
    parts = [part for part in sub.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Invalid(f"subPath {sub} leads out of its volume")
    here = os.path.realpath(base)
    for number, part in enumerate(parts):
        step = os.path.join(here, part)
        if not os.path.lexists(step):
            rest = os.path.join(here, *parts[number:])
            os.makedirs(rest, mode=0o755)
            return rest
        here = os.path.realpath(step)
        if here != os.path.realpath(base) and not here.startswith(os.path.realpath(base) + "/"):
            raise Denied(f"subPath {sub} leads out of its volume through the symlink {part}")
    return here
