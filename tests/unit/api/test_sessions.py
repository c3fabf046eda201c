"""Pipes, exec sessions, attach and log pieces, with the runtime faked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controllers.container.ports import StartFailed, Stdio
from setpoint.sessions import execs as execs_module
from setpoint.sessions.attaching import AttachSession
from setpoint.sessions.execs import Execs
from setpoint.sessions.logs import in_pieces
from setpoint.sessions.pipes import InputPipe, OutputPipes, make_fifo
from state.errors import NotFound, Unavailable


def writer(path: str) -> int:
    return os.open(path, os.O_WRONLY)


async def test_output_of_two_pipes_until_both_end(tmp_path: Path) -> None:
    paths = {stream: make_fifo(f"{tmp_path}/{stream}") for stream in ("stdout", "stderr")}
    pipes = OutputPipes(paths)  # type: ignore[arg-type]
    early = asyncio.ensure_future(pipes.read())
    await asyncio.sleep(0)
    out, err = writer(paths["stdout"]), writer(paths["stderr"])
    os.write(out, b"a")
    assert await early == ("stdout", b"a")
    os.close(out)
    os.write(err, b"b")
    os.close(err)
    assert await pipes.read() == ("stderr", b"b")
    assert await pipes.read() is None
    pipes.close()


async def test_a_pipe_whose_writer_has_not_come_is_not_at_its_end(tmp_path: Path) -> None:
    pipes = OutputPipes({"stdout": make_fifo(f"{tmp_path}/o")})
    reading = asyncio.ensure_future(pipes.read())
    done, _ = await asyncio.wait((reading,), timeout=0.05)
    assert not done
    pipes.abandon()
    assert await reading is None
    pipes.close()
    pipes.close()


async def test_closing_under_a_reader_ends_it(tmp_path: Path) -> None:
    pipes = OutputPipes({"stdout": make_fifo(f"{tmp_path}/o")})
    reading = asyncio.ensure_future(pipes.read())
    await asyncio.sleep(0)
    pipes.close()
    assert await reading is None


async def test_a_pipe_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        OutputPipes({"stdout": make_fifo(f"{tmp_path}/o"), "stderr": f"{tmp_path}/none"})
    assert len(os.listdir("/proc/self/fd")) == before


async def test_input_waits_for_room_and_drops_after_its_end(tmp_path: Path) -> None:
    path = make_fifo(f"{tmp_path}/i")
    pipe = InputPipe(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    data = os.urandom(300_000)
    writing = asyncio.ensure_future(pipe.write(data))
    got = b""
    while len(got) < len(data):
        await asyncio.sleep(0)
        try:
            got += os.read(reader, 65536)
        except BlockingIOError:
            continue
    await writing
    assert got == data
    full = asyncio.ensure_future(pipe.write(data))
    await asyncio.sleep(0.01)
    pipe.close()
    await full
    await pipe.write(b"nobody")
    os.close(reader)


@dataclass
class FakeDriver:
    """A process that a test plays: it opens its ends of the FIFOs as a shim does."""

    failure: Exception | None = None
    immortal: bool = False
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    stdio: Stdio = field(default_factory=Stdio)
    fds: list[int] = field(default_factory=list)
    exit: asyncio.Event = field(default_factory=asyncio.Event)
    deleted: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = 0
    wait_failure: Exception | None = None

    async def start(self, id: str, exec_id: str, process: Any, stdio: Stdio) -> int:
        if self.failure:
            raise self.failure
        self.calls.append(("start", process))
        self.stdio = stdio
        self.fds = [writer(path) for path in (stdio.stdout, stdio.stderr) if path]
        return 7

    def print(self, data: bytes) -> None:
        os.write(self.fds[0], data)

    def end(self, code: int = 0, *, holding: bool = False) -> None:
        if not holding:
            for fd in self.fds:
                os.close(fd)
            self.fds = []
        self.code = code
        self.exit.set()

    async def wait(self, id: str, exec_id: str) -> int:
        await self.exit.wait()
        if self.wait_failure:
            raise self.wait_failure
        return self.code

    async def resize(self, id: str, exec_id: str, width: int, height: int) -> None:
        self.calls.append(("resize", width, height))

    async def close_io(self, id: str, exec_id: str) -> None:
        self.calls.append(("close_io",))
        raise NotFound("it has ended")

    async def kill(self, id: str, exec_id: str, signal: int) -> None:
        self.calls.append(("kill", signal))
        if not self.immortal:
            self.end(128 + signal)

    async def delete(self, id: str, exec_id: str) -> int:
        self.calls.append(("delete",))
        self.deleted.set()
        return 0


@pytest.fixture
def driver() -> Any:
    made = FakeDriver()
    yield made
    for fd in made.fds:
        os.close(fd)


@pytest.fixture
async def execs(driver: FakeDriver, tmp_path: Path) -> AsyncIterator[Execs]:
    made = Execs(driver, tmp_path / "exec")
    made.sweep()
    yield made
    await made.stop()
    assert list((tmp_path / "exec").iterdir()) == []


async def test_a_session_from_start_to_end(execs: Execs, driver: FakeDriver) -> None:
    session = await execs.start("id", {"args": ["x"]}, stdin=False, tty=False)
    assert driver.stdio.stdin == ""
    driver.print(b"hi")
    driver.end(3)
    assert await session.read() == ("stdout", b"hi")
    assert await session.read() is None
    assert await session.wait() == 3
    await session.write(b"nobody listens")
    await session.resize(1, 1)
    await session.close()
    await execs.stop()
    assert [call[0] for call in driver.calls] == ["start", "delete"]


async def test_leaving_kills_then_forgets(execs: Execs, driver: FakeDriver) -> None:
    session = await execs.start("id", {}, stdin=True, tty=True, size=(80, 24))
    assert driver.calls[0][1]["consoleSize"] == {"width": 80, "height": 24}
    assert (driver.stdio.stderr, driver.stdio.terminal) == ("", True)
    await session.resize(90, 30)
    await asyncio.gather(session.close(), session.close())
    await execs.stop()
    assert driver.calls[1:] == [("resize", 90, 30), ("kill", 9), ("delete",)]


async def test_a_cancelled_close_is_finished_all_the_same(execs: Execs, driver: FakeDriver) -> None:
    session = await execs.start("id", {}, stdin=False, tty=False)
    closing = asyncio.ensure_future(session.close())
    await asyncio.sleep(0)
    closing.cancel()
    await execs.stop()
    assert ("delete",) in driver.calls


async def test_what_cannot_start_leaves_nothing(execs: Execs, driver: FakeDriver) -> None:
    driver.failure = StartFailed("not found", 127)
    with pytest.raises(StartFailed):
        await execs.start("id", {}, stdin=True, tty=False)
    assert driver.calls == []


async def test_the_end_of_stdin_is_told_to_the_shim_once(execs: Execs, driver: FakeDriver) -> None:
    session = await execs.start("id", {}, stdin=True, tty=False)
    await session.close_stdin()
    await session.close_stdin()
    assert driver.calls.count(("close_io",)) == 1
    await session.close()


async def test_output_that_a_child_holds_is_given_up(execs: Execs, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execs_module, "_DRAIN_S", 0.05)
    session = await execs.start("id", {}, stdin=False, tty=False)
    driver.end(holding=True)
    assert await session.read() is None
    assert await session.wait() == 0
    await session.close()


async def test_a_process_that_does_not_die_does_not_hold_us(
    execs: Execs, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execs_module, "_DEATH_S", 0.05)
    driver.immortal = True
    session = await execs.start("id", {}, stdin=False, tty=False)
    await asyncio.wait_for(session.close(), 5)


async def test_a_runtime_that_goes_away_ends_the_session_with_its_error(
    execs: Execs, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execs_module, "_DRAIN_S", 0.05)
    driver.wait_failure = Unavailable("containerd went away")
    session = await execs.start("id", {}, stdin=False, tty=False)
    driver.end(holding=True)
    assert await session.read() is None
    with pytest.raises(Unavailable):
        await session.wait()
    await session.close()


async def test_detached(execs: Execs, driver: FakeDriver) -> None:
    assert await execs.start_detached("id", {}) == 7
    assert driver.stdio == Stdio()
    driver.end()
    await asyncio.wait_for(driver.deleted.wait(), 5)


class Live:
    """The pump's stream."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def read(self) -> Any:
        return None

    async def write(self, data: bytes) -> None:
        self.calls.append(data)

    async def close_stdin(self) -> None:
        self.calls.append("close_stdin")

    async def close(self) -> None:
        self.calls.append("close")

    async def resize(self, width: int, height: int) -> None:
        raise NotFound("it has just ended")


async def test_attach_never_touches_the_container() -> None:
    live = Live()
    left: list[int] = []

    async def code() -> int:
        return 9

    session = AttachSession(live, live, code, leave=lambda: left.append(1))
    assert await session.read() is None
    await session.write(b"x")
    await session.resize(1, 1)
    await session.close_stdin()
    assert await session.wait() == 9
    await session.close()
    assert live.calls == [b"x", "close_stdin", "close_stdin", "close"]
    assert left == [1]


class Line:
    def __init__(self, text: bytes) -> None:
        self._text = text

    def render(self, *, timestamps: bool = False) -> bytes:
        return (b"T " if timestamps else b"") + self._text


async def pieces(lines: Any, *, timestamps: bool = False) -> list[bytes]:
    return [piece async for piece in in_pieces(lines, timestamps=timestamps)]


async def test_lines_at_hand_go_out_together() -> None:
    async def lines() -> Any:
        for n in range(1000):
            yield Line(b"%d\n" % n)

    got = await pieces(lines(), timestamps=True)
    assert len(got) == 1
    assert got[0].startswith(b"T 0\nT 1\n")
    assert got[0].count(b"\n") == 1000


async def test_a_long_log_goes_out_in_bounded_pieces() -> None:
    async def lines() -> Any:
        for _ in range(1000):
            yield Line(b"x" * 1023 + b"\n")

    got = await pieces(lines())
    assert sum(map(len, got)) == 1_024_000
    assert max(map(len, got)) <= (64 << 10) + 1024


async def test_what_comes_goes_out_at_once_and_errors_come_through() -> None:
    gate = asyncio.Event()

    async def lines() -> Any:
        yield Line(b"a\n")
        await gate.wait()
        yield Line(b"b\n")
        raise Unavailable("the disk is gone")

    stream = in_pieces(lines(), timestamps=False)
    assert await anext(stream) == b"a\n"
    gate.set()
    assert await anext(stream) == b"b\n"
    with pytest.raises(Unavailable):
        await anext(stream)


async def test_leaving_closes_the_source() -> None:
    closed: list[int] = []

    async def lines() -> Any:
        try:
            yield Line(b"a\n")
            await asyncio.Event().wait()
        finally:
            closed.append(1)

    stream: Any = in_pieces(lines(), timestamps=False)
    assert await anext(stream) == b"a\n"
    await stream.aclose()
    assert closed == [1]


async def test_an_empty_log_is_no_piece() -> None:
    async def lines() -> Any:
        return
        yield

    assert await pieces(lines()) == []
