"""One kept-alive HTTP connection over a unix socket, and streams of JSON lines; the same client for every engine."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import Any


class Refused(Exception):
    """The engine answered with an error."""


class Connection(http.client.HTTPConnection):
    """Kept alive for as long as the engine keeps it."""

    def __init__(self, path: str, timeout_s: float = 120.0) -> None:
        super().__init__("engine", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The parsed answer. Raises Refused, OSError, HTTPException."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.request(method, path, data, {"Content-Type": content_type} if data is not None else {})
        response = self.getresponse()
        raw = response.read()
        if response.status >= 400:
            raise Refused(f"{method} {path}: {response.status} {raw[:300]!r}")
        try:
            return json.loads(raw) if raw else None
        except ValueError:
            return raw


class Stream:
    """A stream of JSON lines on a connection of its own, opened when made."""

    def __init__(self, path: str, target: str) -> None:
        self._connection = Connection(path)
        self._connection.request("GET", target)
        self._response = self._connection.getresponse()
        if self._response.status >= 400:
            raise Refused(f"GET {target}: {self._response.status} {self._response.read()[:300]!r}")
        self._rest = b""
        self._ready: list[Any] = []

    def events(self, within_s: float = 120.0) -> Iterator[Any]:
        """Events as they come. Raises TimeoutError when one does not come in time."""
        sock = self._connection.sock
        deadline = time.monotonic() + within_s
        while True:
            while self._ready:
                yield self._ready.pop(0)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = self._response.read1(1 << 20)
            if not chunk:
                raise ConnectionResetError("the stream ended")
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._ready += [json.loads(line) for line in lines if line.strip()]

    def drain(self, quiet_s: float = 0.05) -> None:
        """Reads away what has come; returns once nothing came for ``quiet_s``."""
        self._ready.clear()
        sock = self._connection.sock
        while select.select([sock], [], [], quiet_s)[0]:
            chunk = self._response.read1(1 << 20)
            if not chunk:
                return
            *_, self._rest = (self._rest + chunk).split(b"\n")

    def close(self) -> None:
        self._connection.close()
