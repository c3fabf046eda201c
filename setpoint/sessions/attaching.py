"""Attach: the live streams of a container, as the keeper's pump passes them on."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from setpoint.api.operations import Stream
from state.errors import StateError


class LiveStream(Protocol):
    """What the pump gives (``setpoint.drivers.pump.AttachStream``)."""

    async def read(self) -> tuple[Stream, bytes] | None: ...

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def close(self) -> None: ...


class MainProcess(Protocol):
    """The runtime's side of the container's first process."""

    async def resize(self, width: int, height: int) -> None: ...

    async def close_stdin(self) -> None:
        """The shim lets go of its own end of the FIFO."""


class AttachSession:
    """A :class:`setpoint.api.operations.StreamSession` on a running container. Leaving does not touch the container.
    ``leave``: called once at the end, to let go of what ``exit_code`` waits for."""

    def __init__(
        self,
        stream: LiveStream,
        process: MainProcess,
        exit_code: Callable[[], Awaitable[int]],
        *,
        leave: Callable[[], object] = lambda: None,
    ) -> None:
        self._stream = stream
        self._process = process
        self._exit_code = exit_code
        self._leave = leave

    async def read(self) -> tuple[Stream, bytes] | None:
        return await self._stream.read()

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close_stdin(self) -> None:
        await self._stream.close_stdin()
        with contextlib.suppress(StateError):
            await self._process.close_stdin()

    async def resize(self, width: int, height: int) -> None:
        # The container may have ended a moment ago, and a size is not worth an error.
        with contextlib.suppress(StateError):
            await self._process.resize(width, height)

    async def wait(self) -> int:
        return await self._exit_code()

    async def close(self) -> None:
        self._leave()
        await self._stream.close()
