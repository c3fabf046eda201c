"""Reading the log files that the keeper's pump writes; no pump and no agent is needed for it.

A reader follows the *file* that it has open, by inode, and asks the folder for the next one only when that one is finished. So
no line is lost or told twice when a file is rotated under it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from setpoint.keeper.lines import stamp
from setpoint.keeper.retention import TAIL_NAME, Piece, folder_name, pieces
from state.errors import NotFound

POLL_S = 0.15
CHUNK_BYTES = 256 << 10
_TIME_END, _STREAM_END, _TEXT = 30, 37, 40


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, or (``partial``) a piece of one that has no newline after it. ``time``: RFC 3339, UTC, nine digits."""

    time: str
    stream: str
    partial: bool
    text: bytes

    def render(self, *, timestamps: bool = False) -> bytes:
        """As it was printed, newline included where there was one."""
        start = self.time.encode() + b" " if timestamps else b""
        return start + self.text if self.partial else start + self.text + b"\n"


def parse(line: bytes) -> LogLine | None:
    """None for what the pump did not write (half a line of a pump that was killed, a line of somebody else)."""
    if len(line) < _TEXT or line[_TIME_END] != 32 or line[_STREAM_END] != 32 or line[_TEXT - 1] != 32:
        return None
    if line[_TIME_END - 1 : _TIME_END] != b"Z" or line[38:39] not in (b"F", b"P"):
        return None
    try:
        head = line[:_STREAM_END].decode("ascii")
    except UnicodeDecodeError:
        return None
    return LogLine(head[:_TIME_END], head[_TIME_END + 1 :], line[38:39] == b"P", line[_TEXT:])


def deleted_uids(data_dir: Path, namespace: str, name: str) -> list[str]:
    """Former objects of that name whose end of log is kept, the latest first."""
    found = []
    for folder in (data_dir / "logs").glob(folder_name(namespace, name, "*")):
        tail = folder / TAIL_NAME
        if tail.exists():
            found.append((tail.stat().st_mtime, folder.name.rpartition("_")[2]))
    return [uid for _, uid in sorted(found, reverse=True)]


async def read_log(
    data_dir: Path,
    namespace: str,
    name: str,
    uid: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: datetime | None = None,
    previous: bool = False,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[LogLine]:
    """The lines of the latest launch (``previous``: of the one before), oldest first, across rotated files.

    ``tail``: the last so many. ``follow``: goes on, into later launches too, until ``stop`` is set (what is written by then is
    still told) or the files are removed. Of a deleted object it tells what was kept. Raises NotFound when there is no log.
    """
    folder = str(data_dir / "logs" / folder_name(namespace, name, uid))
    try:
        reader = _find_start(folder, tail, previous=previous)
    except FileNotFoundError as missing:
        raise NotFound(f"no log of {namespace}/{name}", kind="Container", name=name) from missing
    not_before = stamp(_nanoseconds(since)).decode() if since is not None else ""
    if not follow:
        reader.end_here()
    try:
        while True:
            stopping = stop is not None and stop.is_set()
            for line in reader.lines():
                if line.time >= not_before:
                    yield line
            if reader.at_end:
                return
            if reader.full:
                await asyncio.sleep(0)
            elif reader.advance(follow=follow and not previous):
                continue
            elif not follow or previous or stopping or reader.gone:
                return
            else:
                await _nap(stop)
    finally:
        reader.close()


async def _nap(stop: asyncio.Event | None) -> None:
    if stop is None:
        await asyncio.sleep(POLL_S)
        return
    try:
        async with asyncio.timeout(POLL_S):
            await stop.wait()
    except TimeoutError:
        return


def _nanoseconds(moment: datetime) -> int:
    whole = int(moment.astimezone(UTC).replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1000


@dataclass(slots=True)
class _Reader:
    """One open file of a launch, and how to find the next. ``full``: there may be more to read at once."""

    folder: str
    launch: int
    fd: int
    inode: int
    full: bool = True
    gone: bool = False
    _rest: bytes = b""
    _finished: bool = False
    _end: tuple[int, int] = (0, 0)

    def end_here(self) -> None:
        """What is written from now on is not told. (By position, not by time: clocks are set back.)"""
        found = [piece for piece in pieces(self.folder) if piece.launch == self.launch]
        self._end = (_inode(self.folder, found[-1].name), found[-1].size) if found else (0, 0)

    @property
    def at_end(self) -> bool:
        return self.inode == self._end[0] and os.lseek(self.fd, 0, os.SEEK_CUR) >= self._end[1]

    def lines(self) -> Iterator[LogLine]:
        """The complete lines that are there, up to one chunk."""
        data = self._read()
        self.full = len(data) == CHUNK_BYTES
        text = self._rest + data
        *whole, self._rest = text.split(b"\n")
        for raw in whole:
            if (line := parse(raw)) is not None:
                yield line

    def advance(self, *, follow: bool) -> bool:
        """Goes to the next file, if this one will not grow any more and all of it is read."""
        found = pieces(self.folder)
        following = self._following(found)
        if following is None or (following.launch != self.launch and not follow):
            self.gone = not found
            return False
        if not self._finished:
            # It was still written when we read its end, perhaps; now it is not: look once more.
            self._finished = self.full = True
            return True
        try:
            fd = os.open(os.path.join(self.folder, following.name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Rotated in this instant: the next look finds it under its new name.
            return True
        os.close(self.fd)
        self.fd, self.inode, self.launch = fd, os.fstat(fd).st_ino, following.launch
        self._rest, self._finished, self.full = b"", False, True
        return True

    def close(self) -> None:
        os.close(self.fd)

    def _read(self) -> bytes:
        size = CHUNK_BYTES
        if self.inode == self._end[0]:
            size = max(0, min(size, self._end[1] - os.lseek(self.fd, 0, os.SEEK_CUR)))
        data = os.read(self.fd, size)
        if not data:
            size, position = os.fstat(self.fd).st_size, os.lseek(self.fd, 0, os.SEEK_CUR)
            if size < position:
                # Cut behind our back: half a line taken back after a write error, or emptied by somebody.
                os.lseek(self.fd, size, os.SEEK_SET)
                self._rest = b""
        return data

    def _following(self, found: list[Piece]) -> Piece | None:
        """The file after ours; when ours is pruned already, the oldest that is left of our launch or a later one."""
        candidates = [piece for piece in found if piece.launch >= self.launch]
        for index, piece in enumerate(candidates):
            if _inode(self.folder, piece.name) == self.inode:
                return candidates[index + 1] if index + 1 < len(candidates) else None
        return candidates[0] if candidates else None


def _inode(folder: str, name: str) -> int:
    try:
        return os.stat(os.path.join(folder, name)).st_ino
    except FileNotFoundError:
        return 0


def _find_start(folder: str, tail: int | None, *, previous: bool) -> _Reader:
    """Raises FileNotFoundError when there is nothing to read."""
    for _ in range(10):
        found = pieces(folder)
        if not found:
            return _kept_tail(folder, tail, previous=previous)
        launches = sorted({piece.launch for piece in found})
        if previous and len(launches) < 2:
            raise FileNotFoundError(folder)
        launch = launches[-2 if previous else -1]
        names = [piece.name for piece in found if piece.launch == launch]
        try:
            reader = _open_at(folder, launch, names, tail)
        except FileNotFoundError:
            continue
        if tail is None or [piece.name for piece in pieces(folder) if piece.launch == launch] == names:
            return reader
        # Rotated while we counted backwards: count again.
        reader.close()
    raise FileNotFoundError(folder)


def _kept_tail(folder: str, tail: int | None, *, previous: bool) -> _Reader:
    if previous:
        raise FileNotFoundError(folder)
    return _open_at(folder, 0, [TAIL_NAME], tail)


def _open_at(folder: str, launch: int, names: list[str], tail: int | None) -> _Reader:
    """A reader at the oldest of ``names``, or ``tail`` lines before the end of them all."""
    wanted = tail
    for name in reversed(names) if tail is not None else names[:1]:
        fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        if wanted is not None:
            offset, wanted = _back(fd, wanted)
            os.lseek(fd, offset, os.SEEK_SET)
        if not wanted or name == names[0]:
            return _Reader(folder, launch, fd, os.fstat(fd).st_ino)
        os.close(fd)
    raise FileNotFoundError(folder)


def _back(fd: int, wanted: int) -> tuple[int, int]:
    """(where to start for the last ``wanted`` lines, how many of them must be in files before this one).

    A line is counted by its ``F``; the pieces (``P``) before that belong to it.
    """
    at, carry = os.fstat(fd).st_size, b""
    while at > 0:
        size = min(CHUNK_BYTES, at)
        at -= size
        block = os.pread(fd, size, at) + carry
        # Where the first line of this block begins is not in it, unless the file begins here.
        begin = block.find(b"\n") + 1 if at else 0
        if at and not begin:
            carry = block
            continue
        carry, end = block[:begin], len(block)
        while end > begin:
            start = block.rfind(b"\n", begin, end - 1) + 1 or begin
            if block[start + 38 : start + 39] == b"F" and block[end - 1] == 10:
                if wanted == 0:
                    return at + end, 0
                wanted -= 1
            end = start
    return 0, wanted
