"""A transparent relay in front of a containerd socket that counts gRPC calls by their method, from the frames that pass.

Reads HTTP/2 (RFC 9113) client to server: each HEADERS frame is one call; its ``:path`` is decoded with the connection's HPACK
table (RFC 7541). Keep-alive pings and window updates are no calls.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections import Counter
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, CONTINUATION = 0x1, 0x9
PADDED, PRIORITY = 0x8, 0x20
STATIC_ENTRIES = 61
STATIC_PATHS = {4: "/", 5: "/index.html"}
PATH_INDICES = (4, 5)


class Table:
    """As much of HPACK as is needed to follow ``:path``. A Huffman-coded string is kept as unknown."""

    def __init__(self) -> None:
        self._dynamic: list[tuple[str, str]] = []

    def path(self, block: bytes) -> str:
        """The value of ``:path``; ``?`` when it is there and cannot be read, empty when it is not there."""
        at, found = 0, ""
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                name, value = self._entry(index)
            elif first & 0xE0 == 0x20:
                _, at = _integer(block, at, 5)
                continue
            else:
                stored = bool(first & 0x40)
                index, at = _integer(block, at, 6 if stored else 4)
                name = self._entry(index)[0] if index else ""
                if not index:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                if stored:
                    self._dynamic.insert(0, (name, value))
            if name == ":path":
                found = value
        return found

    def _entry(self, index: int) -> tuple[str, str]:
        if index <= STATIC_ENTRIES:
            return (":path", STATIC_PATHS[index]) if index in PATH_INDICES else ("", "")
        place = index - STATIC_ENTRIES - 1
        return self._dynamic[place] if place < len(self._dynamic) else ("", "")


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _string(block: bytes, at: int) -> tuple[str, int]:
    coded = bool(block[at] & 0x80)
    length, at = _integer(block, at, 7)
    raw = block[at : at + length]
    return "?" if coded else raw.decode(errors="replace"), at + length


class Frames:
    """Bytes from one client in, methods called out."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False
        self._table = Table()

    def feed(self, data: bytes) -> list[str]:
        self._rest += data
        if not self._greeted:
            if len(self._rest) < len(PREFACE):
                return []
            self._rest, self._greeted = self._rest[len(PREFACE) :], True
        called = []
        while len(self._rest) >= 9:
            length = int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < 9 + length:
                break
            kind, flags = self._rest[3], self._rest[4]
            payload, self._rest = self._rest[9 : 9 + length], self._rest[9 + length :]
            if kind == HEADERS:
                called.append(self._table.path(_fragment(payload, flags)) or "?")
            elif kind == CONTINUATION:
                called.append("?")
        return called


def _fragment(payload: bytes, flags: int) -> bytes:
    padding = 0
    if flags & PADDED:
        padding, payload = payload[0], payload[1:]
    if flags & PRIORITY:
        payload = payload[5:]
    return payload[: len(payload) - padding]


class Relay:
    """Listens on a socket of its own and passes everything on, both ways."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))
        self.path = str(self._folder / "relay.sock")
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def take(self) -> Counter[str]:
        """Calls since the last time, by method."""
        with self._lock:
            calls, self._calls = self._calls, Counter()
        return calls

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(self._target)
            self._open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, Frames()), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, frames: Frames | None) -> None:
        try:
            while data := source.recv(1 << 16):
                if frames is not None:
                    called = frames.feed(data)
                    with self._lock:
                        self._calls.update(called)
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
