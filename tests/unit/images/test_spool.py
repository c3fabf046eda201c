"""Streams as files."""

from __future__ import annotations

import gzip
import os
import random
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from setpoint.drivers.images import spool as module
from setpoint.drivers.images.spool import Spool
from setpoint.drivers.threads import DriverThread
from state.errors import Invalid, TooLarge, Unavailable


@pytest.fixture
def thread() -> Iterator[DriverThread]:
    made = DriverThread("spool")
    yield made
    made.close()


async def _stream(data: bytes, step: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


PLAIN = random.Random(1).randbytes(5000) + b"a" * 3_000_000


@pytest.mark.parametrize("step", [1 << 20, 4096])
@pytest.mark.parametrize(
    "packed",
    [
        PLAIN,
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:9999]) + gzip.compress(PLAIN[9999:]),
        gzip.compress(PLAIN) + b"\0" * 512,
    ],
    ids=["plain", "gzip", "two members", "padded"],
)
async def test_the_file_holds_the_plain_bytes(tmp_path: Path, thread: DriverThread, packed: bytes, step: int) -> None:
    with await Spool(tmp_path / "s", thread).fill(_stream(packed, step)) as file:
        file.seek(0)
        assert file.read() == PLAIN
    assert os.listdir(tmp_path / "s") == []


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f"])
async def test_tiny_streams(tmp_path: Path, thread: DriverThread, data: bytes) -> None:
    with await Spool(tmp_path, thread).fill(_stream(data, 1)) as file:
        file.seek(0)
        assert file.read() == data


async def test_one_byte_at_a_time(tmp_path: Path, thread: DriverThread) -> None:
    with await Spool(tmp_path, thread).fill(_stream(gzip.compress(b"hello"), 1)) as file:
        file.seek(0)
        assert file.read() == b"hello"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(PLAIN)[:-20], "gzip stream ends too early"),
        (gzip.compress(PLAIN)[:100] + b"garbage" * 100, "gzip stream"),
        (b"\x1f\x8b" + b"\xff" * 100, "broken"),
    ],
)
async def test_broken_gzip(tmp_path: Path, thread: DriverThread, data: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        await Spool(tmp_path, thread).fill(_stream(data, 4096))
    assert os.listdir(tmp_path) == []


async def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path, thread: DriverThread) -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    with pytest.raises(TooLarge, match="10 MiB"):
        await Spool(tmp_path, thread, max_bytes=10 << 20).fill(_stream(bomb, 1 << 20))


async def test_the_disk_is_not_filled(tmp_path: Path, thread: DriverThread, monkeypatch: pytest.MonkeyPatch) -> None:
    full = namedtuple("full", "f_bavail f_frsize")(1, 4096)
    monkeypatch.setattr(module.os, "fstatvfs", lambda _fd: full)
    with pytest.raises(Unavailable, match="left on the disk"):
        await Spool(tmp_path, thread).fill(_stream(b"x" * 100, 10))


async def test_a_client_that_breaks_off_leaves_nothing(tmp_path: Path, thread: DriverThread) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await Spool(tmp_path, thread).fill(broken())
    assert os.listdir(tmp_path) == []
