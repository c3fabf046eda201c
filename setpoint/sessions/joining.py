"""Attach before the start: from the first byte that a container prints, which no attach to a running one can promise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from setpoint.api.operations import Stream
from setpoint.sessions.attaching import LiveStream
from state.errors import StateError

Find = Callable[[], Awaitable[str]]
_POLL_S = 0.02
_STARTS_WITHIN_S = 10.0


class WaitingStream(LiveStream, Protocol):
    """What the pump gives to one who waits (``setpoint.drivers.pump.AttachStream``)."""

    async def admitted(self) -> None:
        """Returns when the launch is there."""


class MainDriver(Protocol):
    """Terminal and stdin of a container's first process, by id."""

    async def resize(self, id: str, exec_id: str, width: int, height: int) -> None: ...

    async def close_io(self, id: str, exec_id: str) -> None: ...


class JoiningSession:
    """A :class:`setpoint.api.operations.StreamSession` whose container may not run yet. Leaving does not touch it."""

    def __init__(self, stream: WaitingStream, driver: MainDriver, find: Find, exit_code: Callable[[], Awaitable[int]]) -> None:
        self._stream, self._driver, self._find, self._exit_code = stream, driver, find, exit_code
        self._admitted = asyncio.ensure_future(stream.admitted())
        self._size: tuple[int, int] | None = None
        self._sizing: asyncio.Task[None] | None = None

    async def read(self) -> tuple[Stream, bytes] | None:
        await self._begun()
        return await self._stream.read()

    async def write(self, data: bytes) -> None:
        await self._begun()
        await self._stream.write(data)

    async def close_stdin(self) -> None:
        """Once the task runs: before, the shim has the FIFO still to open, and has no end of its own to let go of."""
        await self._begun()
        id = await self._running()
        await self._stream.close_stdin()
        if id:
            with contextlib.suppress(StateError):
                await self._driver.close_io(id, "")

    async def resize(self, width: int, height: int) -> None:
        """The newest size reaches the terminal as soon as there is one."""
        self._size = (width, height)
        if self._sizing is None or self._sizing.done():
            self._sizing = asyncio.ensure_future(self._resize())

    async def _resize(self) -> None:
        await self._begun()
        id = await self._running()
        while id and self._size is not None:
            size, self._size = self._size, None
            with contextlib.suppress(StateError):
                await self._driver.resize(id, "", *size)

    async def wait(self) -> int:
        return await self._exit_code()

    async def close(self) -> None:
        for task in (self._admitted, self._sizing):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        await self._stream.close()

    async def _begun(self) -> None:
        # Shielded: reader and writer wait for the same thing, and either may be cancelled.
        await asyncio.shield(self._admitted)

    async def _running(self) -> str:
        """The id of the task, which follows its streams within moments; empty when it does not."""
        for _ in range(int(_STARTS_WITHIN_S / _POLL_S)):
            if id := await self._find():
                return id
            await asyncio.sleep(_POLL_S)
        return ""
