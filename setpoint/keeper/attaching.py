"""The live side: frames between an attached client and a container's streams.

Frame: one byte channel, four bytes length (big endian), payload. Channels: 0 stdin (to us; an empty one closes it), 1 stdout,
2 stderr, 3 a JSON document about the connection itself: ``{"ended": true}`` is the last, ``{"dropped": bytes}`` says that the
client was too slow, ``{"handover": true}`` that the pump is being replaced and the client should attach again.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, Protocol

from setpoint.keeper.wire import Connection

STDIN, STDOUT, STDERR, NOTE = 0, 1, 2, 3
CHANNELS = {"stdout": STDOUT, "stderr": STDERR}
HEADER = struct.Struct(">BI")
MAX_FRAME_BYTES = 1 << 20
MAX_BACKLOG_BYTES = 1 << 20


def frame(channel: int, payload: bytes) -> bytes:
    return HEADER.pack(channel, len(payload)) + payload


class StdinSink(Protocol):
    def write_stdin(self, data: bytes) -> int: ...

    def when_stdin_writable(self, call: Callable[[], None]) -> None: ...

    def close_stdin(self) -> None: ...


class Attachment:
    """One attached client. A slow one loses output, and is told; it never makes the container wait."""

    def __init__(self, connection: Connection, *, stdin: bool, stop_stdin: Callable[[], None]) -> None:
        self.connection = connection
        self._stdin = stdin
        self._stop_stdin = stop_stdin
        self._sink: StdinSink | None = None
        self._in = bytearray()
        self._pending = b""
        self._eof = False
        self._dropped = 0
        connection.on_drained = self._drained

    def start(self, sink: StdinSink, header: dict[str, Any]) -> None:
        """The launch is there: from now on frames flow."""
        self._sink = sink
        self.connection.reply(header)
        self.connection.take_over(self._received)

    @property
    def waiting(self) -> bool:
        return self._sink is None

    def output(self, stream: str, data: bytes) -> None:
        if self.waiting:
            return
        if self.connection.backlog > MAX_BACKLOG_BYTES:
            self._dropped += len(data)
            return
        self.connection.send(frame(CHANNELS[stream], data))

    def end(self, **note: Any) -> None:
        """The last frame, then the connection closes."""
        self._drained()
        self.connection.send(frame(NOTE, json.dumps(note).encode()))
        self.connection.finish()

    def _drained(self) -> None:
        if self._dropped and not self.connection.closed:
            dropped, self._dropped = self._dropped, 0
            self.connection.send(frame(NOTE, json.dumps({"dropped": dropped}).encode()))

    def _received(self, data: bytes) -> None:
        self._in += data
        while len(self._in) >= HEADER.size:
            channel, length = HEADER.unpack_from(self._in)
            if length > MAX_FRAME_BYTES:
                self.connection.close()
                return
            if len(self._in) < HEADER.size + length:
                return
            payload = bytes(self._in[HEADER.size : HEADER.size + length])
            del self._in[: HEADER.size + length]
            if channel == STDIN and self._stdin:
                self._pending += payload
                self._eof = self._eof or not payload
        self._feed()

    def _feed(self) -> None:
        sink = self._sink
        assert sink is not None
        while self._pending:
            taken = sink.write_stdin(self._pending)
            if taken == 0:
                # The container does not read: neither do we, until it does.
                self.connection.pause(True)
                sink.when_stdin_writable(self._resume)
                return
            self._pending = self._pending[taken:]
        if self._eof:
            self._eof = False
            self._stop_stdin()

    def _resume(self) -> None:
        self.connection.pause(False)
        self._feed()
