"""Reading log files while they are written and rotated."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from setpoint.drivers.logs import LogLine, deleted_uids, read_log
from setpoint.keeper.lines import Lines
from setpoint.keeper.logfile import LogFile, LogFolder
from setpoint.keeper.retention import Limits
from state.errors import NotFound

NOW = 1_795_590_000_123_456_789
UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"


class Written:
    """A container's log being written in this process."""

    def __init__(self, data_dir: Path, limits: Limits) -> None:
        self.data_dir = data_dir
        self.folder = LogFolder(str(data_dir / "logs" / f"default_web_{UID}"), limits)
        self.file = LogFile(self.folder, 1)
        self.lines = Lines("stdout")

    def put(self, *texts: str, now: int = NOW) -> None:
        self.file.write(self.lines.feed("".join(f"{text}\n" for text in texts).encode(), now))

    def relaunch(self, launch: int) -> None:
        self.file.close()
        self.file = LogFile(self.folder, launch)

    def read(self, **how: object) -> AsyncIterator[LogLine]:
        return read_log(self.data_dir, "default", "web", UID, **how)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Written:
    return Written(tmp_path, Limits(4096, 50))


async def texts(lines: AsyncIterator[LogLine]) -> list[str]:
    return [line.text.decode() async for line in lines]


def append(log: Written, raw: bytes) -> None:
    with open(f"{log.folder.path}/1.log", "ab") as file:
        file.write(raw)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 the condition is on files
            await asyncio.sleep(0.005)


def numbers(start: int, end: int) -> list[str]:
    return [f"{number:06d}" for number in range(start, end)]


async def test_all_of_it_over_rotated_files(log: Written) -> None:
    log.put(*numbers(0, 500))
    assert len(os.listdir(log.folder.path)) > 3
    assert await texts(log.read()) == numbers(0, 500)


@pytest.mark.parametrize("tail", [0, 1, 2, 80, 87, 88, 200, 499, 500, 10_000])
async def test_tail(log: Written, tail: int) -> None:
    log.put(*numbers(0, 500))
    assert await texts(log.read(tail=tail)) == numbers(max(0, 500 - tail), 500)


async def test_tail_counts_a_split_line_once(tmp_path: Path) -> None:
    log = Written(tmp_path, Limits(1 << 20, 2))
    log.put("before", "x" * 40_000, "after")
    kept = [line async for line in log.read(tail=2)]
    assert b"".join(line.render() for line in kept) == b"x" * 40_000 + b"\nafter\n"
    assert [line.partial for line in kept] == [True, True, False, False]


async def test_tail_of_large_files(tmp_path: Path) -> None:
    log = Written(tmp_path, Limits(10 << 20, 2))
    log.put(*numbers(0, 20_000))
    assert await texts(log.read(tail=9_000)) == numbers(11_000, 20_000)


async def test_since(log: Written) -> None:
    log.put("old", now=NOW - 5_000_000_000)
    log.put("new")
    moment = datetime.fromtimestamp(NOW // 1_000_000_000, UTC)
    assert await texts(log.read(since=moment)) == ["new"]
    assert await texts(log.read(since=moment - timedelta(seconds=10))) == ["old", "new"]
    assert await texts(log.read(since=moment + timedelta(seconds=10))) == []


async def test_timestamps_and_pieces_are_rendered(log: Written) -> None:
    log.put("one")
    log.file.write(log.lines.feed(b"prompt> ", NOW) + log.lines.finish(NOW))
    rendered = [line.render(timestamps=True) async for line in log.read()]
    assert rendered == [b"2026-11-25T07:00:00.123456789Z one\n", b"2026-11-25T07:00:00.123456789Z prompt> "]


async def test_a_clock_that_was_set_back_hides_nothing(log: Written) -> None:
    log.put("from the future", now=NOW + 10**18)
    log.put("from the past", now=NOW - 10**18)
    assert await texts(log.read()) == ["from the future", "from the past"]


async def test_what_is_written_while_reading_is_not_waited_for(log: Written) -> None:
    log.put(*numbers(0, 5))
    seen = []
    async for line in log.read():
        seen.append(line.text.decode())
        log.put(*numbers(1000, 1100))
    assert seen == numbers(0, 5)


async def test_previous(log: Written) -> None:
    log.put("first")
    with pytest.raises(NotFound):
        await texts(log.read(previous=True))
    log.relaunch(2)
    log.put("second")
    assert await texts(log.read()) == ["second"]
    assert await texts(log.read(previous=True)) == ["first"]


async def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no log of default/nope"):
        await texts(read_log(tmp_path, "default", "nope", UID))


async def test_the_kept_end_of_a_deleted_object(log: Written) -> None:
    log.put(*numbers(0, 500))
    log.file.close()
    log.folder.keep_tail(1000)
    kept = await texts(log.read(follow=True))
    assert kept == numbers(500 - len(kept), 500)
    assert await texts(log.read(tail=3)) == numbers(497, 500)
    assert deleted_uids(log.data_dir, "default", "web") == [UID]
    assert deleted_uids(log.data_dir, "default", "we") == []


async def test_what_is_not_ours_is_left_out(log: Written) -> None:
    log.put("ours")
    append(log, b"somebody wrote this\n\nnot a line of ours, but long enough to be one\n")
    log.put("ours again")
    assert await texts(log.read()) == ["ours", "ours again"]


async def test_following_loses_and_repeats_nothing(log: Written) -> None:
    """Rotated under the reader all the time, two launches, and the end told when asked to stop."""
    seen: list[str] = []
    stop = asyncio.Event()

    async def follow() -> None:
        async for line in log.read(follow=True, stop=stop):
            seen.append(line.text.decode())

    log.put(*numbers(0, 10))
    reader = asyncio.create_task(follow())
    for start in range(10, 2000, 30):
        log.put(*numbers(start, start + 30))
        if start % 90 == 10:
            await asyncio.sleep(0.002)
    await until(lambda: len(seen) == 2020)
    log.relaunch(2)
    log.put("again")
    stop.set()
    await asyncio.wait_for(reader, 5)
    assert seen == [*numbers(0, 2020), "again"]


async def test_following_ends_when_the_files_go(log: Written) -> None:
    log.put("x")
    reader = asyncio.create_task(texts(log.read(follow=True)))
    await asyncio.sleep(0)
    log.file.close()
    log.folder.remove()
    assert await asyncio.wait_for(reader, 5) == ["x"]


async def test_following_survives_a_line_taken_back(log: Written) -> None:
    """After a write error the pump takes half a line back; the reader may have seen it already."""
    seen: list[str] = []
    stop = asyncio.Event()

    async def follow() -> None:
        async for line in log.read(follow=True, stop=stop):
            seen.append(line.text.decode())

    log.put("whole")
    size = os.stat(f"{log.folder.path}/1.log").st_size
    append(log, b"2026-11-25T07:00:00.123456789Z stdout F ha")
    reader = asyncio.create_task(follow())
    await until(lambda: seen == ["whole"])
    os.truncate(f"{log.folder.path}/1.log", size)
    await asyncio.sleep(0.4)
    log.put("next")
    stop.set()
    await asyncio.wait_for(reader, 5)
    assert seen == ["whole", "next"]
