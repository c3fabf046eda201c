"""What the kernel tells about processes, and how to end those that we started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def eventually(look: Callable[[], T], *, within_s: float, what: Callable[[], str], pause_s: float = 0.002) -> T:
    """The first true answer. Raises AssertionError."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what()}")
        time.sleep(pause_s)
    return found


def end(process: subprocess.Popen[bytes], number: signal.Signals, patience_s: float = 30) -> None:
    """It has ended and is reaped: dockerd refuses to start while its predecessor is a zombie."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size in MB (10**6 bytes), from smaps_rollup; a process that is gone counts nothing."""
    return sum(_rollup(pid, "Pss:") for pid in pids)


def private_mb(pids: Iterable[int]) -> float:
    return sum(_rollup(pid, "Private_Clean:") + _rollup(pid, "Private_Dirty:") for pid in pids)


def _rollup(pid: int, field: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_s(pid: int) -> float:
    """User and system seconds so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def mounts_below(folder: Path) -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{folder}/")]


def reap_groups(name: str) -> None:
    """Removes the empty control groups below the parent of that name, and the parent, in every hierarchy."""
    root = Path("/sys/fs/cgroup")
    for parent in {*root.glob(name), *root.glob(f"*/{name}")}:
        for folder, _, _ in os.walk(parent, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
