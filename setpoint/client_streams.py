"""Exec and attach from a terminal: a websocket on one side, stdin, stdout, stderr and the window's size on the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import aiohttp

from setpoint.client import AgentUnreachable, Client, Query, encode_query, socket_path
from state.errors import StateError, from_status

PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_DETACH = b"\x10\x11"
"""Ctrl-P, Ctrl-Q: Docker's keys."""
_CHUNK = 32768
_BROKEN_PIPE = 128 + signal.SIGPIPE


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """``code`` is the process's; of a session that was detached it means nothing. ``message``: why the process never ran."""

    code: int
    detached: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The three descriptors. ``raw``: our stdin is put into raw mode, the process has a terminal of its own."""

    stdin: int | None = 0
    stdout: int = 1
    stderr: int = 2
    raw: bool = False
    detach_keys: bool = False


def run_session(
    client: Client,
    path: str,
    query: Query,
    terminal: Terminal,
    *,
    on_signal: Callable[[int], None] | None = None,
    on_joined: Callable[[], None] | None = None,
) -> SessionEnd:
    """Runs to the end. ``path``: ``…/exec`` or ``…/attach``. ``on_signal``: what to do on SIGINT and SIGTERM instead of
    leaving, such as passing them on to the container. ``on_joined``: called when an attach that waits is in its place.
    Raises the API's errors, AgentUnreachable."""
    with _raw(terminal):
        return asyncio.run(_Session(terminal, on_signal, on_joined).run(client, path, query))


@contextlib.contextmanager
def _raw(terminal: Terminal) -> Iterator[None]:
    """Raw mode for the time of the body, and the old mode back whatever happens."""
    if not (terminal.raw and terminal.stdin is not None and os.isatty(terminal.stdin)):
        yield
        return
    before = termios.tcgetattr(terminal.stdin)
    try:
        tty.setraw(terminal.stdin, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(terminal.stdin, termios.TCSADRAIN, before)


class DetachKeys:
    """Finds Ctrl-P Ctrl-Q in what is typed. A lone Ctrl-P is held back until the next key."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to send, and whether to detach."""
        data = self._held + data
        self._held = b""
        before, found, _ = data.partition(_DETACH)
        if found:
            return before, True
        if data.endswith(_DETACH[:1]):
            self._held = data[-1:]
            return data[:-1], False
        return data, False


class _Session:
    def __init__(
        self,
        terminal: Terminal,
        on_signal: Callable[[int], None] | None,
        on_joined: Callable[[], None] | None = None,
    ) -> None:
        self._terminal = terminal
        self._on_signal = on_signal
        self._on_joined = on_joined
        self._end: SessionEnd | None = None
        self._failure: StateError | None = None

    async def run(self, client: Client, path: str, query: Query) -> SessionEnd:
        url = f"http://setpoint{path}?{encode_query(query)}"
        connector = aiohttp.UnixConnector(path=socket_path(client.host))
        async with aiohttp.ClientSession(connector=connector) as http:
            try:
                ws = await http.ws_connect(url, protocols=(PROTOCOL,), max_msg_size=0, compress=0)
            except aiohttp.WSServerHandshakeError as exc:
                # The library drops the body that says why; without an upgrade the same request is refused in the same way.
                client.request("GET", path, query=query)
                raise StateError(f"the agent answered {exc.status} to {path}") from None
            except (aiohttp.ClientError, OSError) as exc:
                raise AgentUnreachable(f"cannot reach the agent at {client.host}: {exc}") from exc
            async with ws:
                await self._carry(ws)
        if self._failure is not None:
            raise self._failure
        if self._end is None:
            raise AgentUnreachable(f"the connection to {client.host} broke before the session's end")
        return self._end

    async def _carry(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        this = asyncio.current_task()
        assert this is not None
        with contextlib.ExitStack() as undo:
            # Only the main thread can catch signals.
            if threading.current_thread() is threading.main_thread():
                self._watch_signals(this, undo)
                if self._terminal.raw:
                    self._watch_size(ws, undo)
            tasks = [asyncio.ensure_future(self._outward(ws))]
            if self._terminal.stdin is not None:
                tasks.append(asyncio.ensure_future(self._feed(ws, self._terminal.stdin)))
            try:
                await self._until_end(tasks)
                if self._end is not None and self._end.detached:
                    await ws.close()  # a closing handshake: what was typed before is taken first
            except asyncio.CancelledError:
                if self._end is None:
                    raise
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_end(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Output's end is the end; stdin's end is one only when the keys to detach were typed."""
        pending: set[asyncio.Task[None]] = set(tasks)
        while tasks[0] in pending and self._end is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def _watch_signals(self, this: asyncio.Task[None], undo: contextlib.ExitStack) -> None:
        """A terminal that hangs up ends us; the others do unless they are to be passed on."""
        loop = asyncio.get_running_loop()
        for number in map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
            if self._on_signal is not None and number != signal.SIGHUP:
                loop.add_signal_handler(number, self._on_signal, number)
            else:
                loop.add_signal_handler(number, self._leave, this, number)
            undo.callback(loop.remove_signal_handler, number)

    def _leave(self, task: asyncio.Task[None], number: int) -> None:
        self._end = SessionEnd(128 + number)
        task.cancel()

    def _watch_size(self, ws: aiohttp.ClientWebSocketResponse, undo: contextlib.ExitStack) -> None:
        loop = asyncio.get_running_loop()
        sending: set[asyncio.Task[None]] = set()

        def send() -> None:
            with contextlib.suppress(OSError):
                size = os.get_terminal_size(self._terminal.stdout)
                message = json.dumps({"Width": size.columns, "Height": size.lines}).encode()
                task = asyncio.ensure_future(ws.send_bytes(bytes((_RESIZE,)) + message))
                sending.add(task)
                task.add_done_callback(sending.discard)

        loop.add_signal_handler(signal.SIGWINCH, send)
        undo.callback(loop.remove_signal_handler, signal.SIGWINCH)
        send()

    async def _outward(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        outputs = {_STDOUT: self._terminal.stdout, _STDERR: self._terminal.stderr}
        async for message in ws:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in outputs:
                if not data and self._on_joined is not None:
                    self._on_joined()
                try:
                    _write_all(outputs[channel], data)
                except BrokenPipeError:
                    self._end = SessionEnd(_BROKEN_PIPE)
                    return
            elif channel == _STATUS:
                self._conclude(json.loads(data))

    def _conclude(self, status: dict[str, object]) -> None:
        code = exit_code(status)
        if code is None:
            self._failure = from_status(status)
        else:
            never_ran = code in (126, 127, 128) and not str(status.get("message", "")).startswith("command terminated")
            self._end = SessionEnd(code, message=str(status["message"]) if never_ran else "")

    async def _feed(self, ws: aiohttp.ClientWebSocketResponse, fd: int) -> None:
        # A process that ended needs no more input; how it ended is told on the way out.
        with contextlib.suppress(ConnectionError):
            await self._inward(ws, fd)

    async def _inward(self, ws: aiohttp.ClientWebSocketResponse, fd: int) -> None:
        keys = DetachKeys() if self._terminal.detach_keys else None
        while data := await _read(fd):
            leave = False
            if keys is not None:
                data, leave = keys.feed(data)
            if data:
                await ws.send_bytes(bytes((_STDIN,)) + data)
            if leave:
                self._end = SessionEnd(0, detached=True)
                return
        await ws.send_bytes(bytes((_CLOSE, _STDIN)))


def exit_code(status: dict[str, object]) -> int | None:
    """The process's exit code in a final ``Status``; None when it tells of something else."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") != "NonZeroExitCode":
        return None
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message", "")).lstrip("-").isdigit():
            return int(cause["message"])
    return None


async def _read(fd: int) -> bytes:
    """What can be read now, or b"" at the end. The descriptor stays blocking: it is often shared with our parent shell."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return os.read(fd, _CHUNK)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        loop.remove_reader(fd)
        if not ready.done():
            ready.set_result(None)

    try:
        loop.add_reader(fd, wake)
    except PermissionError:
        # /dev/null and its like are always ready, and epoll will have none of them.
        return os.read(fd, _CHUNK)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
    try:
        return os.read(fd, _CHUNK)
    except OSError:
        # A terminal that hung up reads as an error.
        return b""


def _write_all(fd: int, data: bytes) -> None:
    if fd == 1:
        sys.stdout.flush()
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
