"""The agent's side of ``pump.sock``: the ``Logs`` port of the Container slice, and the live streams for attach."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from controllers.container.ports import LogWish, Stdio
from setpoint.drivers.keeper import answer, exchange
from setpoint.keeper.attaching import HEADER, NOTE, STDIN, STDOUT, frame
from state.errors import NotFound, StateError, Unavailable

Document = dict[str, Any]

PATIENCE_S = 3.0
"""How long a pump that is being put back, or replaced, is waited for."""
_RETRY_S = 0.05
_MAX_REPLY_BYTES = 16 << 20
_STDIN_PIECE = 32 << 10


class Pump:
    """``Logs`` over one connection that is made again when it breaks. Every request may be sent twice: all are idempotent but
    ``open``, whose streams are dropped by the pump when a later ``open`` of the same id comes and nobody took them up."""

    def __init__(self, run_dir: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._path = run_dir / "pump.sock"
        self._patience_s = patience_s
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self, wish: LogWish) -> Stdio:
        reply = await self._ask({"op": "open", **asdict(wish)})
        return Stdio(stdin=reply["stdin"], stdout=reply["stdout"], stderr=reply["stderr"], terminal=reply["terminal"])

    async def tune(self, wish: LogWish) -> None:
        await self._ask({"op": "tune", **asdict(wish)})

    async def close(self, uid: str, *, keep_tail: bool) -> None:
        await self._ask({"op": "close", "uid": uid, "keep_tail": keep_tail})

    async def list(self) -> Sequence[str]:
        return list((await self._ask({"op": "list"}))["uids"])

    async def stats(self) -> Document:
        """``{version, pid, containers: {uid: {open, launch, bytes, dropped, attached}}}``; the counts are of this pump's
        life."""
        return await self._ask({"op": "stats"})

    async def attach(self, uid: str, *, stdin: bool = False, wait: bool = False) -> AttachStream:
        """Joins the streams of the newest launch; with ``wait`` of the next one if none is open: whoever
        waits before the first start (in a task: this call then returns only when it comes) misses nothing. Raises NotFound."""
        stream = AttachStream(self._path, uid, stdin=stdin, wait=wait, patience_s=self._patience_s)
        await stream.connect()
        return stream

    async def join(self, uid: str, *, stdin: bool = False) -> AttachStream:
        """Joins the newest launch, or the next one if none is open, and returns before that is there: nothing of it is missed.
        ``AttachStream.admitted`` waits for it. Raises Unavailable."""
        stream = AttachStream(self._path, uid, stdin=stdin, wait=True, patience_s=self._patience_s)
        await stream.knock()
        return stream

    async def disconnect(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, request: Document) -> Document:
        async with self._lock:
            deadline = asyncio.get_running_loop().time() + self._patience_s
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        return await self._try(request)
                except OSError as failure:  # TimeoutError is one
                    if asyncio.get_running_loop().time() >= deadline:
                        raise Unavailable(f"no log pump answers on {self._path}: {failure or 'no reply in time'}") from failure
                    await asyncio.sleep(_RETRY_S)

    async def _try(self, request: Document) -> Document:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(str(self._path), limit=_MAX_REPLY_BYTES)
        try:
            return await exchange(*self._streams, request)
        except StateError:
            raise
        except BaseException:
            # Also when we were cancelled: the reply that is still to come is not that of the next request.
            await self.disconnect()
            raise


class AttachStream:
    """One attached client. Goes on over a replacement of the pump; output of the moment between is in the log only."""

    def __init__(self, path: Path, uid: str, *, stdin: bool, wait: bool, patience_s: float) -> None:
        self._path = path
        self._request = {"op": "attach", "uid": uid, "stdin": stdin, "wait": wait}
        self._patience_s = patience_s
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._ended = False
        self.terminal = False
        self.stdin = False
        """Whether the container has one that is open."""
        self.launch = 0
        self.dropped_bytes = 0
        """Output that was not told because we were too slow to take it."""

    async def connect(self) -> None:
        """Raises NotFound when nothing is there to attach to, Unavailable when there is no pump."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while True:
            writer = None
            try:
                self._reader, writer = await asyncio.open_unix_connection(str(self._path))
                header = await exchange(self._reader, writer, self._request)
            except BaseException as failure:
                if writer is not None:
                    writer.close()
                if not isinstance(failure, OSError):
                    raise
                if asyncio.get_running_loop().time() >= deadline:
                    raise Unavailable(f"no log pump answers on {self._path}: {failure}") from failure
                await asyncio.sleep(_RETRY_S)
            else:
                self._writer = writer
                break
        self.terminal, self.stdin, self.launch = header["terminal"], header["stdin"], header["launch"]

    async def knock(self) -> None:
        """Sends the request of an attach that waits. Raises Unavailable when there is no pump."""
        deadline = asyncio.get_running_loop().time() + self._patience_s
        while True:
            try:
                self._reader, self._writer = await asyncio.open_unix_connection(str(self._path))
                self._writer.write(json.dumps(self._request).encode() + b"\n")
                await self._writer.drain()
            except OSError as failure:
                if asyncio.get_running_loop().time() >= deadline:
                    raise Unavailable(f"no log pump answers on {self._path}: {failure}") from failure
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def admitted(self) -> None:
        """Returns when the launch is there, however long that takes; a pump that is replaced meanwhile is asked again."""
        while True:
            try:
                header = await answer(self._reader)
            except OSError:
                self._writer.close()
                await self.knock()
            else:
                self.terminal, self.stdin, self.launch = header["terminal"], header["stdin"], header["launch"]
                return

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """The next chunk; None when all streams of the container have ended."""
        while not self._ended:
            try:
                channel, length = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                payload = await self._reader.readexactly(length)
            except (asyncio.IncompleteReadError, OSError):
                await self._again()
                continue
            if channel != NOTE:
                return ("stdout" if channel == STDOUT else "stderr", payload)
            note = json.loads(payload)
            self.dropped_bytes += note.get("dropped", 0)
            self._ended = bool(note.get("ended"))
        return None

    async def write(self, data: bytes) -> None:
        """To the container's stdin; returns when the pump has room for more."""
        for at in range(0, len(data), _STDIN_PIECE):
            await self._send(frame(STDIN, data[at : at + _STDIN_PIECE]))

    async def close_stdin(self) -> None:
        """The pump lets go of its end. The shim holds one too: the runtime has to be told as well (containerd's CloseIO)."""
        await self._send(frame(STDIN, b""))

    async def close(self) -> None:
        """Leaves; the container does not notice."""
        self._ended = True
        self._writer.close()

    async def _send(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as failure:
            raise Unavailable(f"the log pump went away: {failure}") from failure

    async def _again(self) -> None:
        self._writer.close()
        try:
            await self.connect()
        except NotFound:
            self._ended = True
