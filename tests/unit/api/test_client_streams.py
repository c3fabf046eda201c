"""Exec and attach between a terminal and the real server."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controllers.container.ports import StartFailed
from setpoint.client import AgentUnreachable, Client
from setpoint.client_streams import DetachKeys, Terminal, exit_code, run_session
from setpoint.testing.fake_operations import FakeSession
from state.errors import Conflict, NotFound

WEB = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers/web"
EXEC: dict[str, Any] = {"command": ["sh"], "stdin": True, "stdout": True, "stderr": True}


class Pipes:
    """A terminal of three pipes: what is put in, and what came out."""

    def __init__(self) -> None:
        self.stdin, self.feed = os.pipe()
        self._out, self.stdout = os.pipe()
        self._err, self.stderr = os.pipe()

    def terminal(self, **how: Any) -> Terminal:
        return Terminal(self.stdin, self.stdout, self.stderr, **how)

    def type(self, data: bytes, *, end: bool = True) -> None:
        os.write(self.feed, data)
        if end:
            self.end()

    def end(self) -> None:
        os.close(self.feed)
        self.feed = -1

    def out(self) -> bytes:
        return os.read(self._out, 65536)

    def err(self) -> bytes:
        return os.read(self._err, 65536)

    def drain(self, count: int) -> None:
        """Takes so many bytes of output away."""
        while count > 0:
            count -= len(self.out())

    def close(self) -> None:
        for fd in (self.stdin, self.feed, self._out, self.stdout, self._err, self.stderr):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close()


@pytest.fixture
async def web(api: Any) -> Any:
    await api.container("web")
    return api


async def run(
    api: Any, session: FakeSession | None, terminal: Terminal, query: Any = None, path: str = "/exec", **how: Any
) -> Any:
    """In a thread, where no signals are caught: the main one has the server's loop."""
    if session is not None:
        api.operations.containers.sessions.append(session)
    client = Client(str(api.socket), timeout_s=5)
    return await asyncio.to_thread(run_session, client, path if "/apis" in path else WEB + path, query or EXEC, terminal, **how)


async def test_output_goes_where_it_belongs_and_the_code_comes_back(web: Any, pipes: Pipes) -> None:
    session = FakeSession([("stdout", b"out"), ("stderr", b"err")], code=42)
    end = await run(web, session, pipes.terminal())
    assert (end.code, end.detached, end.message) == (42, False, "")
    assert (pipes.out(), pipes.err()) == (b"out", b"err")


async def test_stdin_goes_through_to_its_end(web: Any, pipes: Pipes) -> None:
    session = FakeSession(echo=True)
    pipes.type(b"hello")
    assert (await run(web, session, pipes.terminal())).code == 0
    assert session.stdin == b"hello"
    assert pipes.out() == b"hello"


async def test_a_file_as_stdin(web: Any, pipes: Pipes, tmp_path: Any) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"x" * 100_000)
    session = FakeSession(echo=True)
    drain = threading.Thread(target=pipes.drain, args=(100_000,))
    drain.start()
    with path.open("rb") as file:
        await run(web, session, Terminal(file.fileno(), pipes.stdout, pipes.stderr))
    drain.join(5)
    assert not drain.is_alive()
    assert len(session.stdin) == 100_000


async def test_devnull_as_stdin(web: Any, pipes: Pipes) -> None:
    session = FakeSession(echo=True)
    null = os.open(os.devnull, os.O_RDONLY)
    assert (await run(web, session, Terminal(null, pipes.stdout, pipes.stderr))).code == 0
    os.close(null)
    assert session.stdin_closed


async def test_detach_keys_leave(web: Any, pipes: Pipes) -> None:
    session = FakeSession(echo=True)
    pipes.type(b"abc\x10\x11def", end=False)
    end = await run(web, session, pipes.terminal(detach_keys=True), {**EXEC, "command": None}, "/attach")
    assert end.detached
    assert session.stdin == b"abc"


async def test_what_cannot_start_has_a_shell_s_code_and_a_message(web: Any, pipes: Pipes) -> None:
    web.operations.containers.failure = StartFailed("no such file: nope", 127)
    end = await run(web, None, pipes.terminal())
    assert (end.code, end.message) == (127, "no such file: nope")


async def test_a_session_that_ends_at_once_is_told_though_stdin_still_flows(web: Any, tmp_path: Any) -> None:
    web.operations.containers.failure = Conflict("it does not run")
    path = tmp_path / "in"
    path.write_bytes(b"x" * 500_000)
    for _ in range(20):
        with path.open("rb") as file, pytest.raises(Conflict):
            await run(web, None, Terminal(file.fileno()))


async def test_errors_of_the_api_come_out_as_such(web: Any, pipes: Pipes) -> None:
    web.operations.containers.failure = Conflict("it does not run")
    with pytest.raises(Conflict, match="it does not run"):
        await run(web, None, pipes.terminal())
    web.operations.containers.failure = None
    with pytest.raises(NotFound):
        await run(web, None, pipes.terminal(), path=WEB.replace("web", "no") + "/exec")


async def test_a_server_that_stops_is_said(web: Any, pipes: Pipes) -> None:
    running = asyncio.ensure_future(run(web, FakeSession(echo=True), pipes.terminal()))
    await until(lambda: web.server.streams == 1)
    await web.server.stop()
    with pytest.raises(AgentUnreachable, match="broke"):
        await running


def test_no_agent(pipes: Pipes, tmp_path: Any) -> None:
    with pytest.raises(AgentUnreachable):
        run_session(Client(str(tmp_path / "no.sock")), WEB + "/exec", EXEC, pipes.terminal())


@pytest.mark.parametrize(
    ("typed", "sent", "left"),
    [
        pytest.param([b"abc"], b"abc", False, id="plain"),
        pytest.param([b"a\x10\x11b"], b"a", True, id="at-once"),
        pytest.param([b"a\x10", b"\x11"], b"a", True, id="in-two"),
        pytest.param([b"\x10", b"x"], b"\x10x", False, id="lone"),
        pytest.param([b"\x10\x10", b"\x11"], b"\x10", True, id="twice"),
        pytest.param([b"\x11\x10", b"\x10"], b"\x11\x10", False, id="held"),
    ],
)
def test_detach_keys(typed: list[bytes], sent: bytes, left: bool) -> None:
    keys = DetachKeys()
    results = [keys.feed(piece) for piece in typed]
    assert b"".join(data for data, _ in results) == sent
    assert results[-1][1] is left


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"status": "Success"}, 0),
        (
            {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}},
            7,
        ),
        ({"status": "Failure", "reason": "NonZeroExitCode"}, None),
        ({"status": "Failure", "reason": "Conflict"}, None),
    ],
)
def test_exit_codes(status: dict[str, Any], code: int | None) -> None:
    assert exit_code(status) == code


_CHILD = """
import json, sys
from setpoint.client import Client
from setpoint.client_streams import Terminal, run_session
signals = []
end = run_session(Client(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), Terminal(raw=sys.argv[4] == "raw"),
                  on_signal=signals.append if sys.argv[5] else None)
print("END", end.code, signals, flush=True)
"""


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


def child(api: Any, mode: str, on_signal: str = "", **how: Any) -> subprocess.Popen[bytes]:
    arguments = [str(api.socket), WEB + "/exec", json.dumps(EXEC), mode, on_signal]
    return subprocess.Popen([sys.executable, "-c", _CHILD, *arguments], **how)


async def test_on_a_terminal_keys_go_through_raw_sizes_follow_and_the_mode_comes_back(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        before = termios.tcgetattr(theirs)
        process = child(web, "raw", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        await until(lambda: (80, 24) in session.sizes)
        os.write(ours, b"\x03x")
        await until(lambda: session.stdin == b"\x03x")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        process.send_signal(signal.SIGWINCH)
        await until(lambda: (132, 50) in session.sizes)
        await session.close_stdin()
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0
        assert termios.tcgetattr(theirs) == before
        assert select.select([ours], [], [], 1)[0]
        assert b"END 0 []" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)


async def test_signals_are_passed_on_when_asked(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    process = child(web, "plain", "pass", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    await until(lambda: session.stdin == b"x")
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.1)
    assert process.poll() is None
    process.stdin.close()
    await until(lambda: process.poll() is not None)
    assert process.stdout is not None
    assert b"END 0 [2]" in process.stdout.read()
    process.stdout.close()


async def test_a_signal_otherwise_ends_the_session_with_its_code(web: Any) -> None:
    session = FakeSession(echo=True)
    web.operations.containers.sessions.append(session)
    process = child(web, "plain", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    await until(lambda: session.stdin == b"x")
    process.send_signal(signal.SIGTERM)
    await until(lambda: process.poll() is not None)
    assert process.stdout is not None
    assert b"END 143 []" in process.stdout.read()
    await asyncio.wait_for(session.closed.wait(), 5)
    process.stdin.close()
    process.stdout.close()
