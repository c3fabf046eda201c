"""Real keepers and pumps: killed, adopted, replaced. Writers hold a read end of their FIFO themselves, as a shim does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controllers.container.ports import LogWish, Stdio
from setpoint.drivers.keeper import KeeperClient
from setpoint.drivers.logs import LogLine, read_log
from setpoint.drivers.pump import Pump
from setpoint.keeper.children import PATIENCE_S, start_time
from setpoint.testing.keeper_server import KeeperServer
from setpoint.testing.waiting import eventually
from state.errors import Invalid, NotFound, Unavailable

UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"
WISH = LogWish(uid=UID, id="6b0f7e551f0a4c5e9d5e0123456789ab-1", namespace="default", name="web", max_size_bytes=64 << 20)
GAP = "the log pump was restarted"


@pytest.fixture
def server() -> Iterator[KeeperServer]:
    with KeeperServer() as server:
        server.start()
        yield server


@pytest.fixture
async def pump(server: KeeperServer) -> AsyncIterator[Pump]:
    pump = Pump(server.run_dir, patience_s=10)
    yield pump
    await pump.disconnect()


class Writer:
    """What a container and its shim do: lines with numbers, as fast as they are taken."""

    def __init__(self, path: str, count: int, start: int = 0) -> None:
        self._ends = [os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(path, os.O_WRONLY)]
        self._range = range(start, count)
        self.written = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        step = 500
        for start in range(self._range.start, self._range.stop, step):
            data = b"".join(b"%08d\n" % number for number in range(start, min(start + step, self._range.stop)))
            while data:
                taken = os.write(self._ends[1], data)
                self.written += taken
                data = data[taken:]
        for fd in self._ends:
            os.close(fd)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    async def join(self) -> None:
        async with asyncio.timeout(50):
            while not self.done:  # noqa: ASYNC110 a thread has no event
                await asyncio.sleep(0.01)


async def lines(server: KeeperServer, wish: LogWish = WISH) -> list[LogLine]:
    return [line async for line in read_log(server.data_dir, wish.namespace, wish.name, wish.uid)]


async def ended(pump: Pump, uid: str = UID) -> None:
    """All streams are at their end, so everything is in the files."""
    await told(pump, uid, "open", 0)


async def told(pump: Pump, uid: str, what: str, value: int) -> None:
    """The pump's own numbers are so, before long."""
    async with asyncio.timeout(20):
        while (await pump.stats())["containers"][uid][what] != value:  # noqa: ASYNC110 another process has no event
            await asyncio.sleep(0.01)


def release(stdio: Stdio, *, stdout: bool = False) -> None:
    """The shim's writers come and go for the streams that a test does not use."""
    for path in filter(None, (stdio.stderr, stdio.stdout if stdout else "")):
        os.close(os.open(path, os.O_WRONLY))


async def test_a_million_lines_over_rotation(server: KeeperServer, pump: Pump) -> None:
    count = 1_000_000
    stdio = await pump.open(replace(WISH, max_size_bytes=10 << 20, max_files=6))
    release(stdio)
    writer = Writer(stdio.stdout, count)
    await writer.join()
    await ended(pump)
    found = [int(line.text) for line in await lines(server)]
    assert found == list(range(count))
    files = list((server.data_dir / "logs" / f"default_web_{UID}").iterdir())
    assert len(files) == 5
    assert all(file.stat().st_size <= 10 << 20 for file in files)


async def test_the_bound_holds_over_launches(server: KeeperServer, pump: Pump) -> None:
    wish = replace(WISH, max_size_bytes=64 << 10, max_files=3)
    for launch in range(3):
        stdio = await pump.open(wish)
        release(stdio)
        await Writer(stdio.stdout, 20_000 * (launch + 1), 20_000 * launch).join()
        await ended(pump)
    folder = server.data_dir / "logs" / f"default_web_{UID}"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 3 * (64 << 10)
    before = [line async for line in read_log(server.data_dir, "default", "web", UID, previous=True)]
    assert int(before[-1].text) == 39_999
    assert len(before) > 1000


async def test_a_handover_loses_nothing_and_leaves_no_mark(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(WISH)
    release(stdio)
    writer = Writer(stdio.stdout, 600_000)
    pids = {server.child("pump")["pid"]}
    for _ in range(3):
        pids.add(await server.client.upgrade_pump())
    await writer.join()
    await ended(pump)
    assert len(pids) == 4
    assert [int(line.text) for line in await lines(server)] == list(range(600_000))


async def test_an_unfinished_line_survives_a_handover(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(WISH)
    release(stdio)
    fd = os.open(stdio.stdout, os.O_WRONLY)
    os.write(fd, b"first half, ")
    await server.client.upgrade_pump()
    os.write(fd, b"second half\n")
    os.close(fd)
    await ended(pump)
    assert [line.text for line in await lines(server)] == [b"first half, second half"]


async def test_an_unfinished_line_is_carried_over_once(server: KeeperServer, pump: Pump) -> None:
    """A pump that is killed after it took over must not leave the old beginning of a line to the next."""
    stdio = await pump.open(WISH)
    release(stdio)
    fd = os.open(stdio.stdout, os.O_WRONLY)
    os.write(fd, b"first half, ")
    await server.client.upgrade_pump()
    os.write(fd, b"second half\n")
    eventually(lambda: (server.data_dir / "logs" / f"default_web_{UID}" / "1.log").stat().st_size > 0)
    before = server.kill("pump")
    eventually(lambda: server.child("pump")["pid"] not in (0, before))
    os.write(fd, b"next\n")
    os.close(fd)
    await ended(pump)
    found = [line.text for line in await lines(server)]
    assert found[0] == b"first half, second half"
    assert found[2:] == [b"next"]


async def test_a_killed_pump_is_put_back_and_owns_up_to_the_gap(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(WISH)
    release(stdio)
    count = 600_000
    writer = Writer(stdio.stdout, count)
    killed = 0
    for share in (0.1, 0.4, 0.7):
        eventually(lambda share=share: writer.written > share * count * 9)  # type: ignore[misc]
        before = server.kill("pump")
        killed += 1
        eventually(lambda before=before: server.child("pump")["pid"] not in (0, before), within_s=2)  # type: ignore[misc]
    await writer.join()
    await ended(pump)
    found = await lines(server)
    marks = [index for index, line in enumerate(found) if GAP in line.text.decode()]
    assert len(marks) == killed
    numbers = [int(line.text) for line in found if re.fullmatch(rb"\d{8}", line.text)]
    assert numbers == sorted(set(numbers))
    assert count - len(numbers) <= killed * (64 << 10) // 9 + 2 * killed
    # What is missing is missing at a mark, and nowhere else.
    for index in range(1, len(found)):
        pair = [line.text for line in found[index - 1 : index + 1]]
        if all(re.fullmatch(rb"\d{8}", text) for text in pair):
            assert int(pair[1]) == int(pair[0]) + 1


async def test_what_was_written_while_there_was_no_pump_is_there(server: KeeperServer, pump: Pump) -> None:
    """Also when the writer is gone before the next pump comes: the keeper holds the FIFO."""
    stdio = await pump.open(WISH)
    release(stdio)
    fd = os.open(stdio.stdout, os.O_WRONLY)
    os.write(fd, b"one\n")
    pid = server.child("pump")["pid"]
    eventually(lambda: (server.data_dir / "logs" / f"default_web_{UID}" / "1.log").stat().st_size > 0)
    os.kill(pid, signal.SIGSTOP)
    os.write(fd, b"two\n")
    os.kill(pid, signal.SIGKILL)
    os.write(fd, b"three\n")
    os.close(fd)
    await ended(pump)
    assert [line.text for line in await lines(server) if GAP.encode() not in line.text] == [b"one", b"two", b"three"]
    assert not list((server.run_dir / "io" / UID).glob("1-*"))


async def test_a_silent_stream_that_ended_meanwhile_is_ended(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(WISH)
    ends = [os.open(path, os.O_WRONLY) for path in (stdio.stdout, stdio.stderr)]
    os.write(ends[0], b"loud\n")
    pid = server.child("pump")["pid"]
    eventually(lambda: (server.data_dir / "logs" / f"default_web_{UID}" / "1.log").stat().st_size > 0)
    os.kill(pid, signal.SIGSTOP)
    for fd in ends:
        os.close(fd)
    os.kill(pid, signal.SIGKILL)
    await ended(pump)


async def test_a_killed_keeper_is_followed_by_one_that_adopts(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(replace(WISH, stdin=True))
    writer = Writer(stdio.stdout, 400_000)
    before = server.child("pump")["pid"]
    server.kill_keeper()
    await pump.list()
    server.start()
    status = server.status()
    assert status["children"]["pump"]["pid"] == before
    assert status["children"]["pump"]["adopted"]
    assert status["held"] >= 1
    release(stdio)
    await writer.join()
    await ended(pump)
    assert [int(line.text) for line in await lines(server)] == list(range(400_000))
    # An adopted child is put back as well.
    server.kill("pump")
    eventually(lambda: server.child("pump")["pid"] not in (0, before), within_s=2)
    assert (await pump.stats())["containers"][UID]["open"] == 0
    assert server.child("pump")["restarts"] == 1


async def test_keeper_and_pump_killed_together(server: KeeperServer, pump: Pump) -> None:
    """Then nobody but the shim holds the FIFO: it waits, and goes on."""
    stdio = await pump.open(WISH)
    release(stdio)
    writer = Writer(stdio.stdout, 300_000)
    eventually(lambda: writer.written > 300_000)
    pid = server.child("pump")["pid"]
    server.kill_keeper()
    os.kill(pid, signal.SIGKILL)
    server.start()
    await writer.join()
    await ended(pump)
    found = await lines(server)
    assert sum(GAP in line.text.decode() for line in found) == 1
    assert len(found) > 300_000 - (64 << 10) // 9 - 3
    assert int(found[-1].text) == 299_999


def test_a_second_keeper_gives_way(server: KeeperServer) -> None:
    argv = [
        sys.executable,
        "-m",
        "setpoint.keeper",
        "--data-dir",
        server.data_dir,
        "--run-dir",
        server.run_dir,
        "--no-containerd",
    ]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 75
    assert "already" in second.stderr
    assert server.status()["children"]["pump"]["ready"]


async def test_the_units_keeper_takes_the_place_of_one_that_an_agent_started() -> None:
    with KeeperServer() as server:
        first = await server.client.connect_or_start()
        server.status()
        pid = server.start(NOTIFY_SOCKET=str(server.base / "nobody"))
        eventually(lambda: server.status().get("pid") == pid, what="the unit's keeper serves")
        eventually(lambda: not start_time(first["pid"]), what="the other one has ended")
        pump = server.child("pump")
        assert (pump["pid"], pump["adopted"]) == (first["children"]["pump"]["pid"], True)


def test_of_two_units_keepers_the_first_stays() -> None:
    with KeeperServer() as server:
        where = str(server.base / "nobody")
        pid = server.start(NOTIFY_SOCKET=where)
        argv = [sys.executable, "-m", "setpoint.keeper", "--data-dir", server.data_dir, "--run-dir", server.run_dir]
        environment = {**os.environ, "NOTIFY_SOCKET": where}
        assert subprocess.run(argv, env=environment, capture_output=True, timeout=20, check=False).returncode == 75
        assert server.status()["pid"] == pid


async def test_a_keeper_that_is_told_to_end_leaves_its_children(server: KeeperServer) -> None:
    pid = server.child("pump")["pid"]
    server.kill_keeper(signal.SIGTERM)
    assert start_time(pid)
    server.start()
    assert server.child("pump")["pid"] == pid


async def test_the_agent_starts_one_that_outlives_it() -> None:
    with KeeperServer() as server:
        client = KeeperClient(server.data_dir, server.run_dir, containerd=None)
        with pytest.raises(Unavailable):
            await client.status()
        status = await client.connect_or_start()
        server.status()
        assert (await client.connect_or_start())["pid"] == status["pid"]
        fields = _stat(status["pid"])
        assert int(fields[1]) != os.getpid()
        assert int(fields[3]) == status["pid"] != os.getsid(0)
        with pytest.raises(Invalid, match="no-containerd"):
            await client.ensure_containerd()
        await client.stop(containerd=False)
        eventually(lambda: not start_time(status["pid"]) and not start_time(status["children"]["pump"]["pid"]))
        await client.stop(containerd=False)


async def test_attach_sees_what_is_printed_and_feeds_stdin(server: KeeperServer, pump: Pump) -> None:
    with pytest.raises(NotFound):
        await pump.attach(UID)
    stdio = await pump.open(replace(WISH, stdin=True))
    out, err = (os.open(path, os.O_WRONLY) for path in (stdio.stdout, stdio.stderr))
    stdin = os.open(stdio.stdin, os.O_RDONLY | os.O_NONBLOCK)
    stream = await pump.attach(UID, stdin=True)
    assert (stream.stdin, stream.terminal, stream.launch) == (True, False, 1)
    os.write(out, b"to stdout")
    assert await stream.read() == ("stdout", b"to stdout")
    os.write(err, b"to stderr\n")
    assert await stream.read() == ("stderr", b"to stderr\n")
    await stream.write(b"typed\n")
    assert eventually(lambda: _take(stdin)) == b"typed\n"
    with pytest.raises(BlockingIOError):
        os.read(stdin, 10)
    await stream.close_stdin()
    eventually(lambda: _at_end(stdin), what="the container sees the end of its stdin")
    os.close(out)
    os.close(err)
    assert await asyncio.wait_for(stream.read(), 5) is None
    await stream.close()
    os.close(stdin)
    assert [(line.text, line.partial) for line in await lines(server)] == [(b"to stderr", False), (b"to stdout", True)]


async def test_stdin_stays_open_over_killed_pumps(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(replace(WISH, stdin=True))
    stdin = os.open(stdio.stdin, os.O_RDONLY | os.O_NONBLOCK)
    before = server.kill("pump")
    for _ in range(50):
        with pytest.raises(BlockingIOError):
            os.read(stdin, 10)
        await asyncio.sleep(0.002)
    eventually(lambda: server.child("pump")["pid"] not in (0, before))
    stream = await pump.attach(UID, stdin=True)
    await stream.write(b"still here\n")
    assert eventually(lambda: _take(stdin)) == b"still here\n"
    await stream.close()
    os.close(stdin)


async def test_attached_before_the_first_start_nothing_is_missed(server: KeeperServer, pump: Pump) -> None:
    waiting = asyncio.create_task(pump.attach(UID, wait=True))
    given_up = asyncio.create_task(pump.attach(UID, wait=True))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    given_up.cancel()
    stdio = await pump.open(WISH)
    out = os.open(stdio.stdout, os.O_WRONLY)
    os.write(out, b"prompt> ")
    stream = await asyncio.wait_for(waiting, 5)
    assert await asyncio.wait_for(stream.read(), 5) == ("stdout", b"prompt> ")
    await stream.close()
    os.close(out)


async def test_who_has_joined_misses_nothing_of_the_next_start(server: KeeperServer, pump: Pump) -> None:
    """No moment in between: what is opened after ``join`` has returned is told from its first byte."""
    stream = await pump.join(UID, stdin=True)
    stdio = await pump.open(replace(WISH, stdin=True))
    out = os.open(stdio.stdout, os.O_WRONLY)
    os.write(out, b"prompt> ")
    await asyncio.wait_for(stream.admitted(), 5)
    assert stream.stdin
    assert await asyncio.wait_for(stream.read(), 5) == ("stdout", b"prompt> ")
    await stream.close()
    os.close(out)


async def test_a_pump_that_does_not_end_is_made_to(server: KeeperServer, pump: Pump) -> None:
    """And the one after it is not: patience is with one process."""
    await pump.open(WISH)
    os.kill(server.child("pump")["pid"], signal.SIGSTOP)
    pid = await server.client.upgrade_pump()
    assert server.child("pump")["last_exit"] == "signal 9"
    second = await server.client.upgrade_pump()
    assert second != pid
    await asyncio.sleep(PATIENCE_S + 0.5)
    assert server.child("pump")["pid"] == second


async def test_a_pump_of_an_older_version_is_replaced(server: KeeperServer, pump: Pump) -> None:
    await pump.open(WISH)
    before = server.child("pump")["pid"]
    state = server.run_dir / "keeper" / "pump.json"
    server.kill_keeper()
    state.write_text(json.dumps(json.loads(state.read_text()) | {"version": "0.0.1"}))
    server.start(ready=False)
    eventually(lambda: server.child("pump")["pid"] not in (0, before))
    eventually(lambda: server.child("pump")["version"] != "0.0.1")
    assert list(await pump.list()) == [UID]


@pytest.mark.kernel
async def test_a_full_disk_holds_nobody_up_and_is_told(server: KeeperServer, pump: Pump) -> None:
    logs = server.data_dir / "logs"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", logs], check=True)  # noqa: ASYNC221
    try:
        stdio = await pump.open(WISH)
        filler = logs / "filler"
        filler.write_bytes(b"x" * (900 << 10))
        out = os.open(stdio.stdout, os.O_WRONLY)
        for number in range(40):
            os.write(out, b"".join(b"%08d\n" % line for line in range(number * 1000, number * 1000 + 1000)))
        async with asyncio.timeout(10):
            while (await pump.stats())["containers"][UID]["bytes"] < 40 * 9000:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.01)
        dropped = (await pump.stats())["containers"][UID]["dropped"]
        assert dropped > 30_000
        filler.unlink()
        os.write(out, b"again\n")
        os.close(out)
        release(stdio)
        await ended(pump)
        texts = [line.text.decode() for line in await lines(server)]
        assert texts[-2:] == [f"setpoint: {dropped} lines dropped: No space left on device", "again"]
        assert texts[:-2] == [f"{number:08d}" for number in range(40_000 - dropped)]
    finally:
        subprocess.run(["umount", "-l", logs], check=True)  # noqa: ASYNC221


async def test_attach_goes_on_over_a_handover(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(WISH)
    out = os.open(stdio.stdout, os.O_WRONLY)
    stream = await pump.attach(UID)
    await server.client.upgrade_pump()
    reading = asyncio.create_task(stream.read())
    await told(pump, UID, "attached", 1)
    os.write(out, b"here again\n")
    assert await asyncio.wait_for(reading, 5) == ("stdout", b"here again\n")
    await stream.close()
    os.close(out)


async def test_a_client_that_does_not_read_holds_nobody_up(server: KeeperServer, pump: Pump) -> None:
    stdio = await pump.open(WISH)
    release(stdio)
    stream = await pump.attach(UID)
    await Writer(stdio.stdout, 1_000_000).join()
    await ended(pump)
    assert len(await lines(server)) == 1_000_000
    got = 0
    while (chunk := await asyncio.wait_for(stream.read(), 5)) is not None:
        got += len(chunk[1])
    assert stream.dropped_bytes > 0
    assert got + stream.dropped_bytes == 9_000_000
    await stream.close()


async def test_links_for_log_collectors() -> None:
    with KeeperServer(links=True) as server:
        server.start()
        pump = Pump(server.run_dir)
        stdio = await pump.open(WISH)
        release(stdio, stdout=True)
        await ended(pump)
        assert server.links is not None
        (link,) = server.links.iterdir()
        assert link.name == f"web_default_{WISH.id}.log"
        assert link.resolve() == server.data_dir.resolve() / "logs" / f"default_web_{UID}" / "1.log"
        await pump.close(UID, keep_tail=True)
        assert list(server.links.iterdir()) == []
        await pump.disconnect()


async def test_a_hundred_containers_are_small_and_idle(server: KeeperServer, pump: Pump) -> None:
    ends = []
    for number in range(100):
        uid = f"{number:08d}{UID[8:]}"
        stdio = await pump.open(replace(WISH, uid=uid, id=uid.replace("-", "") + "-1", name=f"web-{number}"))
        for path in (stdio.stdout, stdio.stderr):
            ends.append(os.open(path, os.O_WRONLY))
            os.write(ends[-1], b"hello\n" * 100)
    status = server.status()
    pids = [status["pid"], status["children"]["pump"]["pid"]]
    eventually(lambda: server.status()["held"] == 200)
    ticks = [_ticks(pid) for pid in pids]
    await asyncio.sleep(1)
    sizes = [_pss_kib(pid) for pid in pids]
    print(f"PSS with 100 containers: keeper {sizes[0]} KiB, pump {sizes[1]} KiB")
    assert [_ticks(pid) for pid in pids] == ticks
    assert sum(sizes) <= 25 * 1024
    for fd in ends:
        os.close(fd)


def _take(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return b""


def _at_end(fd: int) -> bool:
    try:
        return os.read(fd, 4096) == b""
    except BlockingIOError:
        return False


def _pss_kib(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12])


def _stat(pid: int) -> list[str]:
    """proc(5), from the third field on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
