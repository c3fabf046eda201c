"""Exec sessions in real containers: streams, ends, terminals, and that nothing is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from controllers.container.ports import NewInstance, StartFailed, Stdio
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.execs import Execs as ExecDriver
from setpoint.drivers.containerd.images import ImageStore
from setpoint.sessions.execs import Execs, ExecSession
from setpoint.testing.containerd_rig import RealRig, load, running
from setpoint.testing.containerd_server import RELEASES, ContainerdServer
from setpoint.testing.runtime_rig import FOREVER, spec

pytestmark = [pytest.mark.containerd, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=RELEASES, ids=lambda release: release.name)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ContainerdServer]:
    async with running(request.param) as server:
        yield server


class Inside:
    """One running container, and sessions in it."""

    def __init__(self, id: str, execs: Execs, folder: Path, base: dict[str, Any]) -> None:
        self.id, self.execs, self.folder = id, execs, folder
        self._base = base

    def process(self, *command: str, tty: bool = False) -> dict[str, Any]:
        return {**self._base, "args": list(command), "terminal": tty}

    async def start(self, *command: str, stdin: bool = False, tty: bool = False, **how: Any) -> ExecSession:
        return await self.execs.start(self.id, self.process(*command, tty=tty), stdin=stdin, tty=tty, **how)

    async def run(self, *command: str) -> tuple[int, bytes, bytes]:
        session = await self.start(*command)
        try:
            out, err = await output(session)
            return await session.wait(), out, err
        finally:
            await session.close()


async def output(session: ExecSession) -> tuple[bytes, bytes]:
    found = {"stdout": b"", "stderr": b""}
    while (frame := await session.read()) is not None:
        found[frame[0]] += frame[1]
    return found["stdout"], found["stderr"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def inside(server: ContainerdServer) -> AsyncIterator[Inside]:
    channel = Channel(server.address, server.namespace)
    chain = await load(ImageStore(channel))
    rig = RealRig(server, chain, server.folder)
    uid = str(uuid4())
    id = f"{uid.replace('-', '')}-1"
    document = spec(id, FOREVER)
    document["mounts"] += [
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    ]
    await rig.runtime.create(NewInstance(id, uid, 1, "default", "web", rig.image, chain, document))
    await rig.runtime.launch(id, Stdio())
    folder = server.folder / "exec"
    execs = Execs(ExecDriver(channel), folder)
    execs.sweep()
    yield Inside(id, execs, folder, document["process"])
    await execs.stop()
    await channel.close()
    await rig.close()


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


def alive(mark: str) -> bool:
    """Whether a process runs on the host whose command line holds ``mark``."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    return True
    return False


@pytest.fixture(autouse=True)
def nothing_left(inside: Inside) -> Any:
    yield
    assert list(inside.folder.iterdir()) == []


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_output_and_exit_code(inside: Inside, code: int) -> None:
    assert await inside.run("sh", "-c", f"echo out; echo err >&2; exit {code}") == (code, b"out\n", b"err\n")


async def test_a_signalled_process_tells_128_plus_the_signal(inside: Inside) -> None:
    assert (await inside.run("sh", "-c", "kill -9 $$"))[0] == 137


@pytest.mark.parametrize(("command", "code"), [("/bin/nope", 127), ("/etc/passwd", 126)])
async def test_what_cannot_be_executed(inside: Inside, command: str, code: int) -> None:
    with pytest.raises(StartFailed) as failed:
        await inside.start(command)
    assert failed.value.code == code


async def test_stdin_flows_and_ends(inside: Inside) -> None:
    session = await inside.start("cat", stdin=True)
    sent = b"0123456789abcdef" * 16384

    async def feed() -> None:
        await session.write(sent)
        await session.close_stdin()

    feeding = asyncio.ensure_future(feed())
    out, _ = await output(session)
    await feeding
    assert (await session.wait(), out == sent) == (0, True)
    await session.close()


async def test_a_process_that_does_not_read_holds_the_writer_back(inside: Inside) -> None:
    session = await inside.start("sleep", "100", stdin=True)
    writing = asyncio.ensure_future(session.write(b"x" * 1_000_000))
    done, _ = await asyncio.wait((writing,), timeout=0.3)
    assert not done
    await session.close()
    await asyncio.wait_for(writing, 5)


async def test_an_output_that_is_not_read_holds_the_process_back_and_loses_nothing(inside: Inside) -> None:
    session = await inside.start("sh", "-c", "head -c 1000000 /dev/zero; echo done >&2")
    await asyncio.sleep(0.2)
    assert not session._exit.done()  # type: ignore[union-attr]
    out, err = await output(session)
    assert (len(out), err, await session.wait()) == (1_000_000, b"done\n", 0)
    await session.close()


async def test_leaving_kills_the_process(inside: Inside) -> None:
    mark = f"{uuid4().int % 10**8 + 10**8}"
    session = await inside.start("sleep", mark)
    await until(lambda: alive(mark))
    await session.close()
    assert not alive(mark)
    await session.close()


async def test_a_child_that_holds_the_output_does_not_hold_the_session(inside: Inside) -> None:
    began = time.monotonic()
    code, out, _ = await inside.run("sh", "-c", "sleep 5 & echo hi")
    assert (code, out) == (0, b"hi\n")
    assert time.monotonic() - began < 4.5


async def test_a_terminal_has_a_size_and_follows(inside: Inside) -> None:
    session = await inside.start("sh", stdin=True, tty=True, size=(100, 30))
    await session.resize(100, 30)
    await session.write(b"stty size; exit 3\n")
    out, err = await output(session)
    assert b"30 100" in out
    assert (err, await session.wait()) == (b"", 3)
    await session.resize(1, 1)
    await session.close()


async def test_ctrl_d_ends_a_terminal_session(inside: Inside) -> None:
    session = await inside.start("cat", stdin=True, tty=True)
    await session.write(b"hey\n\x04")
    out, _ = await output(session)
    assert out.count(b"hey") == 2
    assert await session.wait() == 0
    await session.close()


async def test_detached_runs_on_and_is_forgotten_when_it_ends(inside: Inside) -> None:
    mark = f"0.{uuid4().int % 10**8 + 10**8}"
    pid = await inside.execs.start_detached(inside.id, inside.process("sleep", mark))
    assert pid > 1
    await until(lambda: not alive(mark))
    await until(lambda: not inside.execs._waits)


async def test_many_at_once(inside: Inside) -> None:
    results = await asyncio.gather(*(inside.run("sh", "-c", f"echo {n}; exit {n}") for n in range(8)))
    assert results == [(n, f"{n}\n".encode(), b"") for n in range(8)]


async def test_a_cancelled_reader_can_read_again(inside: Inside) -> None:
    session = await inside.start("sh", "-c", "sleep 0.3; echo late")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.read(), 0.05)
    assert await output(session) == (b"late\n", b"")
    await session.close()


async def test_what_a_killed_agent_left_is_swept(inside: Inside, tmp_path: Path) -> None:
    left = tmp_path / "exec" / "exec-1"
    left.mkdir(parents=True)
    (left / "stdin").write_text("")
    Execs(inside.execs._driver, tmp_path / "exec").sweep()
    assert list((tmp_path / "exec").iterdir()) == []
