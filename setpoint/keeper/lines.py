"""The CRI log line format: ``2026-11-25T07:00:00.123456789Z stdout F text``.

Everything up to the text has a fixed width, which the reader relies on. ``F`` ends a line, ``P`` is a piece of one: lines are
split at 16 KiB, and what a stream leaves without a newline at its end is a ``P`` too.
Source: kubernetes/cri-api, runtime.v1 ``ContainerConfig.log_path`` and the kubelet's cri log parser.
"""

from __future__ import annotations

import time

MAX_LINE_BYTES = 16 << 10
CHUNK_BYTES = 64 << 10
"""What one read takes at most, the unfinished line from before included: what a killed pump can lose per stream."""

_second = -1
_second_text = b""


def stamp(now_ns: int) -> bytes:
    """RFC 3339 in UTC with nine digits, 30 bytes."""
    global _second, _second_text
    second, rest = divmod(now_ns, 1_000_000_000)
    if second != _second:
        _second, _second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
    return b"%b%09dZ" % (_second_text, rest)


def marker(stream: str, text: str, now_ns: int) -> bytes:
    return b"%b %b F %b\n" % (stamp(now_ns), stream.encode(), text.encode())


class Lines:
    """Turns one stream's chunks into log lines. All lines of a chunk carry the time it was read: no work per line."""

    __slots__ = ("_names", "tail")

    def __init__(self, stream: str, tail: bytes = b"") -> None:
        self._names = (b" %b F " % stream.encode(), b" %b P " % stream.encode())
        self.tail = tail
        """The line that has no newline yet."""

    @property
    def room(self) -> int:
        return CHUNK_BYTES - len(self.tail)

    def feed(self, data: bytes, now_ns: int) -> bytes:
        """The complete log lines that ``data`` makes; the rest is kept in ``tail``."""
        text = self.tail + data if self.tail else data
        end = text.rfind(b"\n")
        when = stamp(now_ns)
        full = when + self._names[0]
        block = b""
        if end >= 0:
            body = text[:end]
            if _overlong(body):
                block = b"".join(self._split(line, when) + b"\n" for line in body.split(b"\n"))
            else:
                block = full + body.replace(b"\n", b"\n" + full) + b"\n"
        tail = text[end + 1 :]
        if len(tail) > MAX_LINE_BYTES:
            part = when + self._names[1]
            whole = len(tail) // MAX_LINE_BYTES * MAX_LINE_BYTES
            block += b"".join(part + tail[at : at + MAX_LINE_BYTES] + b"\n" for at in range(0, whole, MAX_LINE_BYTES))
            tail = tail[whole:]
        self.tail = tail
        return block

    def finish(self, now_ns: int) -> bytes:
        """What is left at the end of the stream."""
        if not self.tail:
            return b""
        block = stamp(now_ns) + self._names[1] + self.tail + b"\n"
        self.tail = b""
        return block

    def _split(self, line: bytes, when: bytes) -> bytes:
        pieces = [line[at : at + MAX_LINE_BYTES] for at in range(0, len(line), MAX_LINE_BYTES)] or [b""]
        part, full = when + self._names[1], when + self._names[0]
        return b"".join(part + piece + b"\n" for piece in pieces[:-1]) + full + pieces[-1]


def _overlong(body: bytes) -> bool:
    at = 0
    while len(body) - at > MAX_LINE_BYTES:
        newline = body.rfind(b"\n", at, at + MAX_LINE_BYTES + 1)
        if newline < 0:
            return True
        at = newline + 1
    return False
