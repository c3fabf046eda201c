"""The files of one container's log: bounded, rotated by us, and never a reason for the container to wait."""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import time
from collections.abc import Callable

from setpoint.keeper.lines import marker
from setpoint.keeper.retention import (
    TAIL_NAME,
    Limits,
    current_name,
    judge,
    pieces,
    read_name,
    room_of_current,
    rotated_name,
)

_MODE = 0o640


class LogFolder:
    """One container's folder of log files, and the limits for all of them together."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.live: set[int] = set()
        """Launches whose file is open."""
        self.on_removed: Callable[[int], None] | None = None
        """Told the launch whose unrotated file was removed."""

    def make(self) -> None:
        os.makedirs(self.path, mode=0o750, exist_ok=True)

    def next_launch(self, known: int = 0) -> int:
        found = pieces(self.path)
        return max(known, found[-1].launch if found else 0) + 1

    def prune(self) -> None:
        """Holds the limits; a file that cannot be removed is tried again at the next rotation."""
        verdict = judge(pieces(self.path), self.limits, self.live)
        for piece in verdict.remove:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.path, piece.name))
            if not piece.rotated and self.on_removed is not None:
                self.on_removed(piece.launch)
        if verdict.trim is not None:
            with contextlib.suppress(OSError):
                path = os.path.join(self.path, verdict.trim.name)
                save_end(path, path, verdict.trim_bytes)

    def keep_tail(self, size: int) -> None:
        """Leaves nothing but the newest ``size`` bytes of log lines, as ``tail``."""
        left, parts = size, []
        for piece in reversed(pieces(self.path)):
            if left <= 0:
                break
            with contextlib.suppress(OSError):
                part = read_end(os.path.join(self.path, piece.name), left)
                parts.append(part)
                left -= len(part)
        with contextlib.suppress(OSError):
            _replace(os.path.join(self.path, TAIL_NAME), b"".join(reversed(parts)))
        self._remove(keep=TAIL_NAME)

    def remove(self) -> None:
        self._remove(keep="")
        with contextlib.suppress(OSError):
            os.rmdir(self.path)

    def _remove(self, keep: str) -> None:
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in names:
            if name != keep:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.path, name))


class LogFile:
    """Where one launch's streams are written, in order of arrival. Writing never raises: what cannot be written is counted,
    and the count is written as soon as writing works again."""

    def __init__(self, folder: LogFolder, launch: int) -> None:
        self._folder = folder
        self._launch = launch
        self._path = os.path.join(folder.path, current_name(launch))
        self._fd = -1
        self._size = 0
        self._room = 0
        self._last_rotation_ns = 0
        self._dropped_now = 0
        self._why = ""
        self.dropped = 0
        """Lines lost to write errors since this file was opened."""
        folder.live.add(launch)
        with contextlib.suppress(OSError):
            self._open()

    def write(self, block: bytes) -> None:
        """Appends whole lines; splits them over files as the limits ask."""
        if self._dropped_now:
            note = f"setpoint: {self._dropped_now} lines dropped: {self._why}"
            if self._append(marker("stdout", note, time.time_ns())):
                self._count(block)
                return
            self._dropped_now = 0
        while block:
            part, block = self._cut(block)
            if lost := self._append(part):
                self._count(lost)
                self._count(block)
                return

    def close(self) -> None:
        if self._dropped_now:
            self.write(b"")
        self._folder.live.discard(self._launch)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self, block: bytes) -> tuple[bytes, bytes]:
        """What still fits into the current file, and the rest. A line larger than a whole file goes into one of its own."""
        self._refresh()
        room = self._room - self._size
        if len(block) <= room:
            return block, b""
        end = block.rfind(b"\n", 0, max(0, room)) + 1
        if end == 0 and self._size > 0:
            self._rotate()
            return self._cut(block) if self._size == 0 else (block, b"")
        end = end or block.find(b"\n") + 1
        return block[:end], block[end:]

    def _append(self, part: bytes) -> bytes:
        """What could not be written, from the start of a line on."""
        try:
            if self._fd < 0:
                self._open()
        except OSError as failure:
            self._failed(failure)
            return part
        good, written = self._size, 0
        try:
            while written < len(part):
                written += os.write(self._fd, part[written:] if written else part)
        except OSError as failure:
            # Half a line must not stay: the next one would be glued to it.
            whole = part.rfind(b"\n", 0, written) + 1
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, good + whole)
            self._size = good + whole
            self._failed(failure)
            return part[whole:]
        self._size = good + written
        return b""

    def _failed(self, failure: OSError) -> None:
        self._why = os.strerror(failure.errno or errno.EIO)

    def _count(self, lost: bytes) -> None:
        lines = lost.count(b"\n")
        self.dropped += lines
        self._dropped_now += lines

    def _open(self) -> None:
        self._folder.make()
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        self._size = os.fstat(self._fd).st_size
        self._room = room_of_current(pieces(self._folder.path), self._folder.limits)
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            # A pump that was killed in the middle of a write leaves half a line.
            os.write(self._fd, b"\n")
            self._size += 1

    def _refresh(self) -> None:
        """Sees what others did to the file: removed (a fresh one is made) or cut (its size is read)."""
        if self._fd < 0:
            return
        try:
            now = os.fstat(self._fd)
            self._size = now.st_size
            if now.st_nlink == 0:
                os.close(self._fd)
                self._fd = -1
                self._open()
        except OSError as failure:
            self._failed(failure)

    def _rotate(self) -> None:
        moment = max(time.time_ns(), self._last_rotation_ns + 1, self._newest_rotation_ns() + 1)
        self._last_rotation_ns = moment
        try:
            os.rename(self._path, os.path.join(self._folder.path, rotated_name(self._launch, moment)))
            os.close(self._fd)
            self._fd = -1
            self._open()
        except OSError as failure:
            # Without a rename (a full directory) the one file that there is starts again rather than grow without limit.
            self._failed(failure)
            if self._fd >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, 0)
                    self._size = 0
        self._folder.prune()
        self._room = room_of_current(pieces(self._folder.path), self._folder.limits)

    def retune(self) -> None:
        """The folder's limits have changed."""
        self._room = room_of_current(pieces(self._folder.path), self._folder.limits)

    def _newest_rotation_ns(self) -> int:
        """Of this launch, so that files sort by age even when the clock was set back."""
        newest = max((r[1] for n in os.listdir(self._folder.path) if (r := read_name(n)) and r[0] == self._launch), default="")
        if not newest or self._last_rotation_ns:
            return 0
        return calendar.timegm(time.strptime(newest[:15], "%Y%m%dT%H%M%S")) * 1_000_000_000 + int(newest[15:])


def read_end(path: str, size: int) -> bytes:
    """The last whole lines of a file, ``size`` bytes at most."""
    with open(path, "rb") as file:
        total = file.seek(0, os.SEEK_END)
        if total <= size:
            file.seek(0)
            return file.read()
        file.seek(total - size - 1)
        data = file.read()
        return data[data.find(b"\n") + 1 :]


def save_end(path: str, target: str, size: int) -> None:
    _replace(target, read_end(path, size))


def _replace(path: str, content: bytes) -> None:
    fresh = path + ".new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    with open(fd, "wb") as file:
        file.write(content)
    os.rename(fresh, path)
