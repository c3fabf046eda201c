"""Logs in memory.

What it gets wrong: there are no FIFOs, so nothing ever blocks and paths lead nowhere; nothing is rotated by size, and no line
has a time; a stream's end is what ``finish`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controllers.container.ports import LogWish, Stdio
from state.errors import Invalid, Unavailable

Printed = tuple[str, bool, bytes]
"""(stream, partial, text)"""

_TAIL_LINES = 100


@dataclass(slots=True)
class FakeLaunch:
    """One start of a container: what it printed, and whether its streams are open."""

    number: int
    wish: LogWish
    stdio: Stdio
    taken: bool = False
    open: bool = True
    lines: list[Printed] = field(default_factory=list)
    rest: dict[str, bytes] = field(default_factory=dict)


class FakeLogs:
    """``Logs`` for simulation. ``away`` makes every call Unavailable, as a pump that is being put back does."""

    def __init__(self) -> None:
        self.launches: dict[str, list[FakeLaunch]] = {}
        self.tails: dict[str, list[Printed]] = {}
        self.limits: dict[str, tuple[int, int]] = {}
        self.away = False

    async def open(self, wish: LogWish) -> Stdio:
        self._reach()
        _check(wish)
        known = self.launches.setdefault(wish.uid, [])
        for launch in known:
            if launch.wish.id == wish.id and not launch.taken:
                launch.open = False
        number = known[-1].number + 1 if known else 1
        at = f"/io/{wish.uid}/{number}"
        stdio = Stdio(
            stdin=f"{at}-in" if wish.stdin else "",
            stdout=f"{at}-out",
            stderr="" if wish.terminal else f"{at}-err",
            terminal=wish.terminal,
        )
        known.append(FakeLaunch(number, wish, stdio))
        self.limits[wish.uid] = (wish.max_size_bytes, wish.max_files)
        return stdio

    async def tune(self, wish: LogWish) -> None:
        self._reach()
        _check(wish)
        if wish.uid in self.launches:
            self.limits[wish.uid] = (wish.max_size_bytes, wish.max_files)

    async def close(self, uid: str, *, keep_tail: bool) -> None:
        self._reach()
        for launch in self.launches.get(uid, []):
            self._end(launch)
        if keep_tail:
            everything = [line for launch in self.launches.get(uid, []) for line in launch.lines]
            if uid in self.launches:
                self.tails[uid] = everything[-_TAIL_LINES:]
        else:
            self.tails.pop(uid, None)
        self.launches.pop(uid, None)
        self.limits.pop(uid, None)

    def write(self, path: str, data: bytes) -> None:
        """What a container prints to one of the paths that ``open`` gave. Data for closed streams is lost, as it would be."""
        for launch in (launch for launches in self.launches.values() for launch in launches if launch.open):
            for stream, its_path in (("stdout", launch.stdio.stdout), ("stderr", launch.stdio.stderr)):
                if path and path == its_path:
                    launch.taken = True
                    *whole, launch.rest[stream] = (launch.rest.get(stream, b"") + data).split(b"\n")
                    launch.lines.extend((stream, False, text) for text in whole)

    def finish(self, path: str) -> None:
        """The container that prints to ``path`` is gone."""
        for launch in (launch for launches in self.launches.values() for launch in launches):
            if path in (launch.stdio.stdout, launch.stdio.stderr):
                self._end(launch)

    def lines(self, uid: str, *, previous: bool = False) -> list[Printed]:
        """Of the latest launch, or of the one before; of a deleted object its kept end."""
        launches = self.launches.get(uid)
        if not launches:
            return list(self.tails.get(uid, []))
        return list(launches[-2 if previous else -1].lines)

    async def list(self) -> Sequence[str]:
        self._reach()
        return sorted(self.launches)

    def _end(self, launch: FakeLaunch) -> None:
        launch.lines.extend((stream, True, rest) for stream, rest in launch.rest.items() if rest)
        launch.rest.clear()
        launch.open = False

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("no log pump answers")


def _check(wish: LogWish) -> None:
    for what in ("uid", "id", "namespace", "name"):
        value = getattr(wish, what)
        if not value or "/" in value or "_" in value or "\0" in value or value.startswith("."):
            raise Invalid(f"{what}: {value!r} is not usable as a file name")
    if wish.max_size_bytes < 4096 or wish.max_files < 1:
        raise Invalid("max_size_bytes: at least 4096, max_files: at least 1")
