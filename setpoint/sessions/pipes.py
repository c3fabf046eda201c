"""FIFOs read and written from the loop: no thread, no buffer of ours, so that a slow side holds back the other.

Facts this rests on (fifo(7), fs/pipe.c): a read end without a writer polls as not ready until a writer came, and as hung up
once the last has left; reading it before that would look like the end. Hence every read waits for readiness first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping

from setpoint.api.operations import Stream

_CHUNK = 65536


class OutputPipes:
    """The read ends of a process's output. One reader at a time."""

    def __init__(self, paths: Mapping[Stream, str]) -> None:
        """Opens them: from now on the other side can open its ends without waiting."""
        self._fds: dict[int, Stream] = {}
        self._waiting: asyncio.Future[int] | None = None
        self._abandoned = False
        try:
            for stream, path in paths.items():
                self._fds[os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)] = stream
        except BaseException:
            self.close()
            raise

    async def read(self) -> tuple[Stream, bytes] | None:
        """The next chunk of any of them; None when all have ended or were abandoned."""
        while self._fds and not self._abandoned:
            fd = await self._ready()
            if fd not in self._fds:
                continue
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                continue
            if data:
                return self._fds[fd], data
            self._fds.pop(fd)
            os.close(fd)
        return None

    async def _ready(self) -> int:
        """A descriptor that is readable or hung up; -1 when woken for another reason."""
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        watched = tuple(self._fds)
        try:
            for fd in watched:
                loop.add_reader(fd, _wake, waiting, fd)
            ready: int = await waiting
            return ready
        finally:
            self._waiting = None
            for fd in watched:
                loop.remove_reader(fd)

    def abandon(self) -> None:
        """No more output is waited for: the reader gets None. For a process that ended while a child of it holds the pipe."""
        self._abandoned = True
        if self._waiting is not None:
            _wake(self._waiting, -1)

    def close(self) -> None:
        """Idempotent."""
        self.abandon()
        fds, self._fds = self._fds, {}
        for fd in fds:
            if self._waiting is not None:
                asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)


class InputPipe:
    """The write end of a process's stdin. One writer at a time."""

    def __init__(self, path: str) -> None:
        # For reading too: without a reader the write end alone cannot be opened, and the shim opens its end later.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._waiting: asyncio.Future[int] | None = None

    @property
    def closed(self) -> bool:
        return self._fd < 0

    async def write(self, data: bytes) -> None:
        """Returns when the pipe took all of it; after :meth:`close` the rest is dropped."""
        view = memoryview(data)
        while view and not self.closed:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        fd = self._fd
        loop.add_writer(fd, _wake, waiting, fd)
        try:
            await waiting
        finally:
            self._waiting = None
            if self._fd == fd:
                loop.remove_writer(fd)

    def close(self) -> None:
        """Idempotent."""
        if self.closed:
            return
        fd, self._fd = self._fd, -1
        if self._waiting is not None:
            asyncio.get_running_loop().remove_writer(fd)
            _wake(self._waiting, -1)
        os.close(fd)


def _wake(waiting: asyncio.Future[int], fd: int) -> None:
    if not waiting.done():
        waiting.set_result(fd)


def make_fifo(path: str) -> str:
    """A FIFO for root alone."""
    os.mkfifo(path, 0o600)
    return path


def remove_folder(path: str) -> None:
    """A folder of FIFOs, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(path):
            os.unlink(entry.path)
        os.rmdir(path)
