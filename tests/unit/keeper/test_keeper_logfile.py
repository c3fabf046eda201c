"""Files of one container: rotation, bounds, and what others do to them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from setpoint.keeper import logfile
from setpoint.keeper.lines import Lines
from setpoint.keeper.logfile import LogFile, LogFolder
from setpoint.keeper.retention import Limits

NOW = 1_795_590_000_123_456_789


def block(*texts: str) -> bytes:
    return Lines("stdout").feed("".join(f"{text}\n" for text in texts).encode(), NOW)


def texts(path: Path) -> list[str]:
    return [line.split(" ", 3)[3] for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(str(tmp_path / "default_web_uid"), Limits(4096, 3))


@pytest.fixture
def file(folder: LogFolder) -> Iterator[LogFile]:
    opened = LogFile(folder, 1)
    yield opened
    opened.close()


def everything(folder: LogFolder) -> list[str]:
    names = sorted(os.listdir(folder.path), key=lambda name: (len(name) == len("1.log"), name))
    return [text for name in names for text in texts(Path(folder.path, name))]


def test_a_log_exists_from_the_start(folder: LogFolder, file: LogFile) -> None:
    assert os.listdir(folder.path) == ["1.log"]
    assert os.stat(f"{folder.path}/1.log").st_mode & 0o777 == 0o640


def test_rotation_loses_nothing_until_the_limit(folder: LogFolder, file: LogFile) -> None:
    for number in range(200):
        file.write(block(f"{number:040d}"))
    kept = everything(folder)
    assert kept == [f"{number:040d}" for number in range(200 - len(kept), 200)]
    assert len(os.listdir(folder.path)) == 3
    assert sum(os.stat(f"{folder.path}/{name}").st_size for name in os.listdir(folder.path)) <= 3 * 4096


def test_one_large_block_is_spread_over_files(folder: LogFolder, file: LogFile) -> None:
    file.write(block(*(f"{number:040d}" for number in range(120))))
    assert everything(folder) == [f"{number:040d}" for number in range(120)]
    assert all(os.stat(f"{folder.path}/{name}").st_size <= 4096 for name in os.listdir(folder.path))


def test_a_line_larger_than_a_file_has_one_of_its_own(folder: LogFolder, file: LogFile) -> None:
    file.write(block("small", "x" * 4200, "after"))
    assert everything(folder) == ["small", "x" * 4200, "after"]


def test_clock_set_back_keeps_the_order(folder: LogFolder, file: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(NOW, 0, -1_000_000_000))
    monkeypatch.setattr(logfile.time, "time_ns", lambda: next(moments))
    for number in range(100):
        file.write(block(f"{number:040d}"))
    kept = everything(folder)
    assert kept == sorted(kept)


def test_a_file_that_was_removed_is_made_again(folder: LogFolder, file: LogFile) -> None:
    file.write(block("before"))
    shutil.rmtree(folder.path)
    file.write(block("after"))
    assert everything(folder) == ["after"]


def test_a_file_that_was_emptied_goes_on(folder: LogFolder, file: LogFile) -> None:
    file.write(block("before"))
    os.truncate(f"{folder.path}/1.log", 0)
    file.write(block("after"))
    assert everything(folder) == ["after"]


def test_half_a_line_is_ended_before_going_on(folder: LogFolder) -> None:
    folder.make()
    Path(folder.path, "1.log").write_bytes(block("whole") + block("half")[:50])
    reopened = LogFile(folder, 1)
    reopened.write(block("next"))
    reopened.close()
    assert Path(folder.path, "1.log").read_bytes().endswith(b"\n" + block("next"))


def test_write_errors_are_counted_and_told(folder: LogFolder, file: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    real, room = os.write, [60]

    def full(fd: int, data: bytes) -> int:
        part = data[: room[0]]
        if not part:
            raise OSError(errno.ENOSPC, "full")
        room[0] -= len(part)
        return real(fd, part)

    monkeypatch.setattr(logfile.os, "write", full)
    file.write(block("fits", "fits not", "nor this"))
    file.write(block("nor that"))
    assert file.dropped == 3
    assert everything(folder) == ["fits"]
    room[0] = 1 << 20
    file.write(block("again"))
    assert everything(folder) == ["fits", "setpoint: 3 lines dropped: No space left on device", "again"]


def test_the_end_is_kept_on_whole_lines(folder: LogFolder, file: LogFile) -> None:
    for number in range(150):
        file.write(block(f"{number:040d}"))
    file.close()
    folder.keep_tail(1000)
    assert os.listdir(folder.path) == ["tail"]
    kept = everything(folder)
    assert kept == [f"{number:040d}" for number in range(150 - len(kept), 150)]
    assert len(kept) == 12


def test_previous_launches_count(folder: LogFolder) -> None:
    for launch in range(1, 8):
        opened = LogFile(folder, launch)
        opened.write(block(f"launch {launch}"))
        folder.prune()
        opened.close()
    assert everything(folder) == ["launch 5", "launch 6", "launch 7"]
    assert folder.next_launch() == 8
    assert folder.next_launch(known=20) == 21
