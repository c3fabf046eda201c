"""Attach before the start."""

from __future__ import annotations

import asyncio
from typing import Any

from setpoint.sessions.joining import JoiningSession


class Stream:
    """A pump's stream whose launch is there when ``launch`` is set."""

    def __init__(self) -> None:
        self.launch = asyncio.Event()
        self.sized = asyncio.Event()
        self.done: list[Any] = []

    async def admitted(self) -> None:
        await self.launch.wait()

    async def read(self) -> tuple[Any, bytes] | None:
        return ("stdout", b"first byte")

    async def write(self, data: bytes) -> None:
        self.done.append(data)

    async def close_stdin(self) -> None:
        self.done.append("closed")

    async def close(self) -> None:
        self.done.append("left")


class Main:
    def __init__(self, stream: Stream) -> None:
        self.done, self.sized = stream.done, stream.sized

    async def resize(self, id: str, exec_id: str, width: int, height: int) -> None:
        self.done.append((id, width, height))
        self.sized.set()

    async def close_io(self, id: str, exec_id: str) -> None:
        self.done.append(("close", id))


def joining(ids: list[str]) -> tuple[Stream, JoiningSession]:
    stream = Stream()

    async def find() -> str:
        return ids.pop(0) if ids else ""

    async def code() -> int:
        return 7

    return stream, JoiningSession(stream, Main(stream), find, code)


async def test_everything_waits_for_the_launch() -> None:
    stream, session = joining(["a-1"] * 9)
    reading = asyncio.create_task(session.read())
    writing = asyncio.create_task(session.write(b"in"))
    await session.resize(1, 1)
    await session.resize(80, 24)
    done, _ = await asyncio.wait((reading, writing), timeout=0.02)
    assert not done
    assert stream.done == []
    stream.launch.set()
    assert await reading == ("stdout", b"first byte")
    await writing
    await asyncio.wait_for(stream.sized.wait(), 2)
    assert ("a-1", 80, 24) in stream.done
    assert ("a-1", 1, 1) not in stream.done
    assert await session.wait() == 7
    await session.close()


async def test_stdin_is_closed_once_the_task_runs() -> None:
    stream, session = joining(["", "", "a-1"])
    stream.launch.set()
    await session.write(b"in")
    await session.close_stdin()
    assert stream.done == [b"in", "closed", ("close", "a-1")]
    await session.close()


async def test_leaving_before_the_launch() -> None:
    stream, session = joining([])
    reading = asyncio.create_task(session.read())
    await asyncio.wait((reading,), timeout=0.01)
    await session.close()
    await asyncio.gather(reading, return_exceptions=True)
    assert stream.done == ["left"]
