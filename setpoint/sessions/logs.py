"""Log lines as text in pieces: what is there goes out together, what comes goes out at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol, cast

_PIECE_BYTES = 64 << 10


class Line(Protocol):
    """``setpoint.drivers.logs.LogLine``."""

    def render(self, *, timestamps: bool = False) -> bytes: ...


async def in_pieces(lines: AsyncIterator[Line], *, timestamps: bool) -> AsyncIterator[bytes]:
    """Joined lines. The source is read on only when at most a piece is waiting; closing closes it."""
    waiting = bytearray()
    filled, taken = asyncio.Event(), asyncio.Event()

    async def fill() -> None:
        try:
            async with aclosing(cast("AsyncGenerator[Line, None]", lines)) as source:
                async for line in source:
                    waiting.extend(line.render(timestamps=timestamps))
                    filled.set()
                    if len(waiting) >= _PIECE_BYTES:
                        taken.clear()
                        await taken.wait()
        finally:
            filled.set()

    filling = asyncio.ensure_future(fill())
    try:
        while True:
            # A source that has lines at hand does not let go of the loop, so that they are all there when we wake.
            await filled.wait()
            filled.clear()
            piece = bytes(waiting)
            waiting.clear()
            taken.set()
            if piece:
                yield piece
            elif filling.done():
                filling.result()
                return
            if filling.done():
                filled.set()
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
