"""Processes of the host by pid; a pid alone is no identity: the kernel gives it to somebody else after its process died."""

from __future__ import annotations

import os
import signal as signals
from dataclasses import dataclass
from pathlib import Path

from state.errors import Denied, NotFound

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process while the host is up. ``start``: its start time in clock ticks since boot (proc(5), field 22 of stat)."""

    pid: int
    start: int


def process_start(pid: int, proc: Path = PROC) -> int | None:
    """The start time of a process in clock ticks since boot; None when there is none."""
    fields = _stat_fields(pid, proc)
    # Fields are counted from the state (3), since the command (2) may hold blanks and brackets.
    return int(fields[22 - 3]) if fields else None


def process_state(pid: int, proc: Path = PROC) -> str:
    """The state letter of proc(5) (``R``, ``S``, ``Z``...); empty when there is no such process."""
    fields = _stat_fields(pid, proc)
    return fields[0] if fields else ""


def process_parent(pid: int, proc: Path = PROC) -> int:
    """The pid of a process's parent; 0 when there is no such process."""
    fields = _stat_fields(pid, proc)
    return int(fields[4 - 3]) if fields else 0


def is_alive(process: ProcessId) -> bool:
    """Whether that very process exists and is no zombie."""
    return process_start(process.pid) == process.start and process_state(process.pid) not in ("", "Z", "X")


def send_signal(process: ProcessId, signal: int) -> None:
    """Signals that very process and never a successor of its pid.

    Raises: NotFound when it is gone, Denied without the right to.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError as exc:
        raise NotFound(f"process {process.pid} is gone") from exc
    try:
        # The pidfd pins whoever has the pid now; comparing the start time after opening it closes the race.
        if process_start(process.pid) != process.start:
            raise NotFound(f"process {process.pid} is gone, its pid belongs to another one")
        signals.pidfd_send_signal(handle, signal)
    except ProcessLookupError as exc:
        raise NotFound(f"process {process.pid} is gone") from exc
    except PermissionError as exc:
        raise Denied(f"may not signal process {process.pid}") from exc
    finally:
        os.close(handle)


def _stat_fields(pid: int, proc: Path) -> list[str]:
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
