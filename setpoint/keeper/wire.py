"""JSON lines over a unix socket: one request a line, one reply a line, in order.

Request: ``{"op": NAME, ...}``. Reply: ``{"ok": true, ...}`` or ``{"ok": false, "error": REASON, "message": TEXT}``, where
REASON names a class of ``state.errors``. A connection can be taken over for raw bytes afterwards (attach).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from setpoint.keeper.loop import READ, WRITE, Loop

MAX_LINE_BYTES = 1 << 20

Document = dict[str, Any]


class Refused(Exception):
    """A request that is answered with an error. ``reason`` names a class of ``state.errors``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def to_reply(self) -> Document:
        return {"ok": False, "error": self.reason, "message": self.message}


class Connection:
    """One client. ``handle(connection, request)`` returns the reply, or None when it will be sent later."""

    def __init__(self, loop: Loop, sock: socket.socket, handle: Callable[[Connection, Document], Document | None]) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._handle = handle
        self._in = bytearray()
        self._out = bytearray()
        self._raw: Callable[[bytes], None] | None = None
        self._paused = False
        self._closing = False
        self.on_close: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.closed = False
        self._rewatch()

    @property
    def backlog(self) -> int:
        """Bytes accepted for sending that the client has not taken yet."""
        return len(self._out)

    def reply(self, document: Document) -> None:
        self.send(json.dumps(document, separators=(",", ":")).encode() + b"\n")

    def send(self, data: bytes) -> None:
        if self.closed:
            return
        self._out += data
        self._flush()

    def take_over(self, feed: Callable[[bytes], None]) -> None:
        """From now on incoming bytes go to ``feed`` as they are."""
        self._raw = feed
        if self._in:
            rest, self._in = bytes(self._in), bytearray()
            feed(rest)

    def pause(self, paused: bool) -> None:
        """Back pressure: a paused connection is not read."""
        self._paused = paused
        self._rewatch()

    def finish(self) -> None:
        """Closes once everything is sent."""
        self._closing = True
        if not self._out:
            self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        if self.on_close is not None:
            self.on_close()

    def _rewatch(self) -> None:
        if self.closed:
            return
        events = (0 if self._paused else READ) | (WRITE if self._out else 0)
        if events:
            self._loop.watch(self._sock.fileno(), events, self._ready)
        else:
            self._loop.unwatch(self._sock.fileno())

    def _ready(self, events: int) -> None:
        if events & WRITE and self._out:
            self._flush()
        if events & READ and not self.closed and not self._paused:
            self._receive()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._out)
            del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._rewatch()
        if not self._out:
            if self._closing:
                self.close()
            elif self.on_drained is not None:
                self.on_drained()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._raw is not None:
            self._raw(data)
        else:
            self._in += data
            self._lines()

    def _lines(self) -> None:
        while not self.closed and self._raw is None and (end := self._in.find(b"\n")) >= 0:
            line = bytes(self._in[:end])
            del self._in[: end + 1]
            self._request(line)
        if len(self._in) > MAX_LINE_BYTES:
            self.close()

    def _request(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise Refused("BadRequest", "a request is a JSON object")
            reply = self._handle(self, request)
        except Refused as refused:
            reply = refused.to_reply()
        except ValueError:
            reply = Refused("BadRequest", "a request is one line of JSON").to_reply()
        except Exception as failure:
            # One bad request must not end a process that holds a hundred streams.
            report(f"request failed: {failure!r}")
            reply = Refused("InternalError", str(failure)).to_reply()
        if reply is not None:
            self.reply(reply)


class Server:
    """Listens at ``path`` (mode 0600). The socket is renamed into place, so a client finds the old one or this one."""

    def __init__(self, loop: Loop, path: str, handle: Callable[[Connection, Document], Document | None]) -> None:
        self._loop = loop
        self._handle = handle
        self.path = path
        self._sock = listen(path)
        loop.watch(self._sock.fileno(), READ, self._accept)

    def _accept(self, _: int) -> None:
        try:
            sock, _address = self._sock.accept()
        except OSError:
            return
        Connection(self._loop, sock, self._handle)

    def close(self) -> None:
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()


def listen(path: str) -> socket.socket:
    fresh = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.bind(fresh)
    os.chmod(fresh, 0o600)
    sock.listen(128)
    os.rename(fresh, path)
    return sock


def answers(path: str, greeting: bytes) -> bool:
    """Whether somebody there says anything to ``greeting``; that a socket takes connections does not mean it is served."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(path)
            probe.sendall(greeting)
            return bool(probe.recv(1))
        except OSError:
            return False


def field(request: Document, name: str, kind: type[Any], default: Any = None) -> Any:
    """A typed field of a request; without a default it must be there."""
    value = request.get(name, default)
    if value is None and default is None:
        raise Refused("BadRequest", f"{name}: missing")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refused("BadRequest", f"{name}: {value!r} is no {kind.__name__}")
    return value


def write_json(path: str, document: Document) -> None:
    """Swaps the file atomically. No fsync: these files only have to survive processes, not the kernel."""
    fresh = path + ".new"
    with open(fresh, "w", encoding="ascii") as file:
        json.dump(document, file, separators=(",", ":"))
    os.rename(fresh, path)


def read_json(path: str) -> Document:
    """Empty when it is missing or unreadable: the caller then starts afresh."""
    try:
        with open(path, encoding="ascii") as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def report(message: str) -> None:
    """One line to the process's own log (its standard error)."""
    with contextlib.suppress(OSError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
