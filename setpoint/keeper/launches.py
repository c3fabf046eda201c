"""One start of a container as the pump sees it: its FIFOs, its log file, its end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from setpoint.keeper import fifos
from setpoint.keeper.lines import Lines, marker
from setpoint.keeper.logfile import LogFile
from setpoint.keeper.loop import READ, WRITE, Loop

GAP = "[setpoint: the log pump was restarted; up to 64 KiB of this stream may be missing]"


class Stream:
    """The read end of stdout or stderr. ``started``: a writer has been there, so that no writer means the end."""

    def __init__(self, name: str, path: str, *, started: bool = False, tail: bytes = b"") -> None:
        self.name = name
        self.path = path
        self.started = started
        self.lines = Lines(name, tail)
        self.fd = -1
        self.reopened = False
        self.bytes_read = 0

    @property
    def ended(self) -> bool:
        return self.fd < 0


class Attempt(NamedTuple):
    """Which start it is; ``id`` is the containerd id that the FIFOs were opened for."""

    number: int
    id: str
    terminal: bool


class Owner(Protocol):
    """Whoever the launch belongs to."""

    def output(self, stream: str, data: bytes) -> None:
        """Just read, for whoever is watching live."""

    def changed(self) -> None:
        """What :meth:`Launch.save` tells is another now."""

    def ended(self, launch: Launch) -> None:
        """All its streams are closed."""


class Launch:
    """One start: its streams are read until nobody can write them any more."""

    def __init__(self, attempt: Attempt, folder: str, file: LogFile, loop: Loop, owner: Owner) -> None:
        self.number, self.id, self.terminal = attempt
        self.file = file
        self.streams: list[Stream] = []
        self.stdin_path = ""
        self.stdin_fd = -1
        self._folder = folder
        self._loop = loop
        self._owner = owner

    def path(self, end: str) -> str:
        return os.path.join(self._folder, f"{self.number}-{end}")

    @property
    def started(self) -> bool:
        return any(stream.started for stream in self.streams)

    @property
    def bytes_read(self) -> int:
        """Read so far."""
        return sum(stream.bytes_read for stream in self.streams)

    @property
    def paths(self) -> list[str]:
        """Every FIFO that is still needed."""
        found = [stream.path for stream in self.streams if not stream.ended]
        return [*found, self.stdin_path] if self.stdin_fd >= 0 else found

    def open(self, *, stdin: bool) -> None:
        """Fresh FIFOs, read ends open. Raises OSError, and has then left nothing."""
        self.streams = [Stream("stdout", self.path("out"))]
        if not self.terminal:
            self.streams.append(Stream("stderr", self.path("err")))
        try:
            for stream in self.streams:
                fifos.make(stream.path)
                self._watch(stream)
            if stdin:
                self.stdin_path = self.path("in")
                fifos.make(self.stdin_path)
                self.stdin_fd = fifos.open_stdin(self.stdin_path)
        except OSError:
            self.discard()
            raise

    def restore(self, saved: dict[str, Any], *, clean: bool) -> None:
        """Opens again what a pump before us had open. ``clean``: it said good-bye, so nothing can be missing."""
        for entry in saved["streams"]:
            stream = Stream(entry["name"], entry["path"], started=entry["started"], tail=entry["tail"].encode("latin-1"))
            try:
                self._watch(stream)
            except OSError:
                continue
            stream.reopened = True
            self.streams.append(stream)
            if stream.started and not clean:
                self.file.write(marker(stream.name, GAP, time.time_ns()))
        if saved["stdin"]:
            with contextlib.suppress(OSError):
                self.stdin_fd = fifos.open_stdin(saved["stdin"])
                self.stdin_path = saved["stdin"]

    def check(self) -> None:
        """After :meth:`restore`: a writer may have left while nobody looked, of which no hang-up will tell.

        A shim opens all streams before the process may print: where one was written to, the silent ones had a writer too.
        """
        if self.started:
            for stream in self.streams:
                stream.started = True
                self._ready(stream)
        if not self.streams:
            self.discard()
            self._owner.ended(self)

    def save(self, *, clean: bool) -> dict[str, Any]:
        """``clean``: nothing more will be read, so unfinished lines are true; else they are old when somebody reads this."""
        return {
            "number": self.number,
            "id": self.id,
            "terminal": self.terminal,
            "stdin": self.stdin_path if self.stdin_fd >= 0 else "",
            "streams": [
                {"name": s.name, "path": s.path, "started": s.started, "tail": s.lines.tail.decode("latin-1") if clean else ""}
                for s in self.streams
                if not s.ended
            ],
        }

    def drain(self) -> None:
        """Takes what is in the FIFOs now (bounded: a writer may be faster than us)."""
        for stream in self.streams:
            for _ in range(32):
                before = stream.bytes_read
                if not stream.ended:
                    self._read(stream)
                if stream.ended or stream.bytes_read == before:
                    break

    def discard(self) -> None:
        """Ends all streams, flushes what they left, removes the FIFOs."""
        for stream in self.streams:
            self._end(stream)
        self.close_stdin()
        self.file.close()

    def release(self) -> None:
        """Closes everything and leaves the FIFOs for the pump after us."""
        for stream in self.streams:
            if not stream.ended:
                self._loop.unwatch(stream.fd)
                os.close(stream.fd)
        self.file.close()

    def write_stdin(self, data: bytes) -> int:
        """How much was taken; 0 when the FIFO is full. Data for a closed stdin is swallowed, as a terminal's would be."""
        if self.stdin_fd < 0:
            return len(data)
        try:
            return os.write(self.stdin_fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def when_stdin_writable(self, call: Callable[[], None]) -> None:
        """Once."""
        if self.stdin_fd < 0:
            call()
            return

        def ready(_: int) -> None:
            self._loop.unwatch(self.stdin_fd)
            call()

        self._loop.watch(self.stdin_fd, WRITE, ready)

    def close_stdin(self) -> None:
        if self.stdin_fd >= 0:
            self._loop.unwatch(self.stdin_fd)
            os.close(self.stdin_fd)
            self.stdin_fd = -1
        if self.stdin_path:
            fifos.remove(self.stdin_path)

    def _watch(self, stream: Stream) -> None:
        stream.fd = fifos.open_reader(stream.path)
        self._loop.watch(stream.fd, READ, lambda _: self._ready(stream))

    def _ready(self, stream: Stream) -> None:
        if stream.ended:
            return
        if not stream.started:
            # Written down before the first byte is taken: a pump killed from here on has something to be sorry for.
            stream.started = True
            self._owner.changed()
        self._read(stream)
        if all(other.ended for other in self.streams):
            self.discard()
            self._owner.ended(self)

    def _read(self, stream: Stream) -> None:
        try:
            data = os.read(stream.fd, stream.lines.room)
        except BlockingIOError:
            stream.reopened = False
            return
        if not data:
            self._end(stream)
            return
        stream.bytes_read += len(data)
        if block := stream.lines.feed(data, time.time_ns()):
            self.file.write(block)
        self._owner.output(stream.name, data)
        if stream.reopened:
            # No event tells of a writer that left before we opened: read on until there is nothing, or nobody.
            self._loop.later(0, lambda: self._ready(stream))

    def _end(self, stream: Stream) -> None:
        if stream.ended:
            return
        self._loop.unwatch(stream.fd)
        os.close(stream.fd)
        stream.fd = -1
        fifos.remove(stream.path)
        if rest := stream.lines.finish(time.time_ns()):
            self.file.write(rest)
