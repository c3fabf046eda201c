"""Processes by pid and start time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from setpoint.drivers.processes import ProcessId, is_alive, process_start, process_state, send_signal
from state.errors import NotFound


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def _identity(process: subprocess.Popen[bytes]) -> ProcessId:
    start = process_start(process.pid)
    assert start is not None
    return ProcessId(process.pid, start)


def test_start_of_a_process_is_stable(child: subprocess.Popen[bytes]) -> None:
    assert process_start(child.pid) == process_start(child.pid)
    assert process_start(child.pid) >= process_start(os.getpid())  # type: ignore[operator]


def test_no_process_no_start() -> None:
    assert process_start(2**22 + 1) is None
    assert process_state(2**22 + 1) == ""


def test_a_command_with_brackets_does_not_confuse(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    numbers = " ".join(str(n) for n in range(4, 53))
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c)) S {numbers}")
    assert process_start(7, tmp_path) == 22
    assert process_state(7, tmp_path) == "S"


def test_signal_reaches_the_very_process(child: subprocess.Popen[bytes]) -> None:
    identity = _identity(child)
    assert is_alive(identity)
    send_signal(identity, signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM
    assert not is_alive(identity)


def test_a_successor_of_the_pid_is_never_signalled(child: subprocess.Popen[bytes]) -> None:
    stale = ProcessId(child.pid, _identity(child).start - 1)
    assert not is_alive(stale)
    with pytest.raises(NotFound, match="another"):
        send_signal(stale, signal.SIGKILL)
    assert child.poll() is None


def test_a_process_that_is_gone(child: subprocess.Popen[bytes]) -> None:
    identity = _identity(child)
    child.kill()
    child.wait()
    with pytest.raises(NotFound):
        send_signal(identity, signal.SIGTERM)


def test_a_zombie_is_not_alive(child: subprocess.Popen[bytes]) -> None:
    identity = _identity(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(identity)
