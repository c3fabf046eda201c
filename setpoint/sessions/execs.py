"""Exec: a process beside a container's own, with streams of our own.

A client that leaves takes its process with it: what was started by hand must not live on unseen. Who wants it to live on
starts it detached. An agent that stops ends its sessions in the same way; one that is killed cannot, and the processes then
live until their container ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from controllers.container.ports import Stdio
from setpoint.api.operations import Stream
from setpoint.sessions.pipes import InputPipe, OutputPipes, make_fifo, remove_folder
from state.errors import NotFound, StateError
from state.objects import Object

T = TypeVar("T")

_SIGKILL = 9
_DRAIN_S = 2.0
"""How long output is still read after the process ended: a child of it may hold the pipe for ever."""
_DEATH_S = 10.0
_log = structlog.get_logger("setpoint.exec")


class ExecDriver(Protocol):
    """Exec processes of the runtime. ``id`` is the instance's, ``exec_id`` ours."""

    async def start(self, id: str, exec_id: str, process: Object, stdio: Stdio) -> int:
        """Its pid. Raises StartFailed, NotFound (no such running instance)."""

    async def wait(self, id: str, exec_id: str) -> int:
        """The exit code, however long it takes."""

    async def resize(self, id: str, exec_id: str, width: int, height: int) -> None: ...

    async def close_io(self, id: str, exec_id: str) -> None:
        """The shim lets go of its own end of the FIFO."""

    async def kill(self, id: str, exec_id: str, signal: int) -> None: ...

    async def delete(self, id: str, exec_id: str) -> int:
        """Forgets the ended process."""


class Execs:
    """Starts sessions. ``folder`` (``RUN_DIR/exec``) holds a folder of FIFOs for each."""

    def __init__(self, driver: ExecDriver, folder: Path) -> None:
        self._driver = driver
        self._folder = folder
        self._endings: set[asyncio.Task[Any]] = set()
        self._waits: set[asyncio.Task[Any]] = set()

    def sweep(self) -> None:
        """Removes what an agent that was killed left; to be called once, before the first session."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for left in self._folder.iterdir():
            remove_folder(str(left))

    async def start(self, id: str, process: Object, *, stdin: bool, tty: bool, size: tuple[int, int] = (0, 0)) -> ExecSession:
        """A process with streams. ``process`` is the OCI document; with ``tty`` there is no stderr. Raises StartFailed."""
        session = ExecSession(self, self._driver, id, stdin=stdin, tty=tty)
        try:
            await session.begin(process, size)
        except BaseException:
            await session.close()
            raise
        return session

    async def start_detached(self, id: str, process: Object) -> int:
        """A process without streams; its pid. It is removed from the runtime when it ends."""
        exec_id = new_id()
        pid = await self._driver.start(id, exec_id, process, Stdio())
        self.watch(self._reap(id, exec_id))
        return pid

    async def _reap(self, id: str, exec_id: str) -> None:
        with contextlib.suppress(StateError):
            await self._driver.wait(id, exec_id)
            await self._driver.delete(id, exec_id)

    def folder(self, exec_id: str) -> str:
        path = self._folder / exec_id
        path.mkdir(mode=0o700, parents=True)
        return str(path)

    def watch(self, exit: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Waits for a process, for as long as we live."""
        return _kept(exit, self._waits)

    def finish(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a clean-up to its end, whoever stops waiting for it."""
        return _kept(ending, self._endings)

    async def stop(self) -> None:
        """Lets clean-ups end; detached processes are no longer waited for, and live on."""
        while self._endings:
            await asyncio.gather(*self._endings, return_exceptions=True)
        waits = tuple(self._waits)
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _kept(work: Coroutine[Any, Any, T], tasks: set[asyncio.Task[Any]]) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


class ExecSession:
    """One process with streams: a :class:`setpoint.api.operations.StreamSession`."""

    def __init__(self, owner: Execs, driver: ExecDriver, id: str, *, stdin: bool, tty: bool) -> None:
        self._owner = owner
        self._driver = driver
        self._id = id
        self._exec_id = new_id()
        self._tty = tty
        self._folder = owner.folder(self._exec_id)
        outputs: tuple[Stream, ...] = ("stdout",) if tty else ("stdout", "stderr")
        self._output = OutputPipes({stream: make_fifo(f"{self._folder}/{stream}") for stream in outputs})
        self._input = InputPipe(make_fifo(f"{self._folder}/stdin")) if stdin else None
        self._exit: asyncio.Future[int] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def begin(self, process: Object, size: tuple[int, int]) -> None:
        stdio = Stdio(
            stdin=f"{self._folder}/stdin" if self._input else "",
            stdout=f"{self._folder}/stdout",
            stderr="" if self._tty else f"{self._folder}/stderr",
            terminal=self._tty,
        )
        if self._tty and all(size):
            process = {**process, "consoleSize": {"width": size[0], "height": size[1]}}
        await self._driver.start(self._id, self._exec_id, process, stdio)
        self._exit = self._owner.watch(self._driver.wait(self._id, self._exec_id))
        self._exit.add_done_callback(self._ended)

    def _ended(self, _exit: asyncio.Future[int]) -> None:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_later(_DRAIN_S, self._output.abandon)

    async def read(self) -> tuple[Stream, bytes] | None:
        return await self._output.read()

    async def write(self, data: bytes) -> None:
        if self._input is not None:
            await self._input.write(data)

    async def close_stdin(self) -> None:
        if self._input is None or self._input.closed:
            return
        self._input.close()
        with contextlib.suppress(NotFound):
            await self._driver.close_io(self._id, self._exec_id)

    async def resize(self, width: int, height: int) -> None:
        if self._tty:
            with contextlib.suppress(StateError):
                await self._driver.resize(self._id, self._exec_id, width, height)

    async def wait(self) -> int:
        assert self._exit is not None, "it never began"
        return await asyncio.shield(self._exit)

    async def close(self) -> None:
        if self._closing is None:
            self._closing = self._owner.finish(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self._exit is not None:
                await self._end_process(self._exit)
        finally:
            self._output.close()
            if self._input is not None:
                self._input.close()
            remove_folder(self._folder)

    async def _end_process(self, exit: asyncio.Future[int]) -> None:
        with contextlib.suppress(StateError):
            if not exit.done():
                await self._driver.kill(self._id, self._exec_id, _SIGKILL)
                await asyncio.wait((exit,), timeout=_DEATH_S)
        if not exit.done():
            exit.cancel()
            _log.warning("exec process does not die", instance=self._id, exec_id=self._exec_id)
        elif not exit.cancelled():
            exit.exception()
        # The shim waits up to 2 s for the streams of a process whose child holds them; the client need not.
        self._owner.finish(self._forget())

    async def _forget(self) -> None:
        with contextlib.suppress(StateError):
            await self._driver.delete(self._id, self._exec_id)


def new_id() -> str:
    """An exec id: random, so that none is met twice in the life of a container."""
    return f"exec-{secrets.token_hex(8)}"
