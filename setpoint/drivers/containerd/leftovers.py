"""Processes of ours that no task stands for any more: of a container whose shim died, and shims that containerd forgot.

Nothing is ended on the strength of a pid alone: a process counts as ours by its control group (named in our record's spec) or
by its command line (our namespace, our containerd's address, an id of our form), and is signalled through a pidfd that was
opened before that was checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from setpoint.drivers.containerd import cgroups
from setpoint.drivers.processes import PROC, ProcessId, is_alive, process_parent, process_start, send_signal
from state.errors import NotFound, Unavailable
from state.objects import Object

RUNC_ROOT = Path("/run/containerd/runc")
"""Where the shim lets runc keep its state unless the runtime options say otherwise; ours never do."""
SHIM_PROGRAM = "containerd-shim-"
OUR_ID = re.compile(r"[0-9a-f]{32}-[0-9]+")
_SWITCHES = frozenset({"debug", "info", "v"})
END_DEADLINE_S = 10.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Shim:
    """A running shim, and the container it is for."""

    process: ProcessId
    id: str

    @property
    def pid(self) -> int:
        return self.process.pid


def shims(namespace: str, address: str, but: Container[str] = ()) -> list[Shim]:
    """The shims of one containerd's namespace whose id has our form and is not among ``but``, sorted by id."""
    found = []
    for name in os.listdir(PROC):
        if name.isdigit() and (id := _shim_id(name, namespace, address)) and id not in but:
            found += [Shim(process, id) for process in _identified(int(name))]
    return sorted(found, key=lambda shim: shim.id)


def _shim_id(pid: str, namespace: str, address: str) -> str:
    """Asked of every process of the host at each resync: what is no shim is told by its first bytes."""
    try:
        with open(os.path.join(PROC, pid, "cmdline"), "rb", buffering=0) as file:
            line = file.read()
    except OSError:
        return ""
    if SHIM_PROGRAM.encode() not in line.partition(b"\0")[0]:
        return ""
    argv = line.decode(errors="replace").split("\0")
    if not os.path.basename(argv[0]).startswith(SHIM_PROGRAM):
        return ""
    flags = _flags(argv[1:])
    id = flags.get("id", "")
    if flags.get("namespace") != namespace or flags.get("address") != address or not OUR_ID.fullmatch(id):
        return ""
    return id


def _flags(words: list[str]) -> dict[str, str]:
    """The flags of a shim's command line; none when an action follows (``start``, ``delete``): that is a passing helper that
    containerd runs, with the flags of the shim that it is about."""
    flags: dict[str, str] = {}
    rest = iter(word for word in words if word)
    for word in rest:
        if not word.startswith("-"):
            return {}
        name, given, value = word.lstrip("-").partition("=")
        flags[name] = value if given or name in _SWITCHES else next(rest, "")
    return flags


def _identified(*pids: int) -> list[ProcessId]:
    """Those of them that are there."""
    return [ProcessId(pid, start) for pid in pids if (start := process_start(pid)) is not None]


def age_s(shim: Shim) -> float:
    """Seconds since the shim started."""
    uptime = float((PROC / "uptime").read_text().split()[0])
    return uptime - shim.process.start / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> set[int]:
    """Every process below ``pid``, at one instant."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            children.setdefault(process_parent(int(entry.name)), []).append(int(entry.name))
    below: set[int] = set()
    queue = list(children.get(pid, ()))
    while queue:
        child = queue.pop()
        below.add(child)
        queue.extend(children.get(child, ()))
    return below


def kill(pid: int, still_ours: Callable[[], bool]) -> None:
    """SIGKILL to the process that had this pid when ``still_ours`` said yes, and to no other."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if still_ours():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def left(namespace: str, id: str, spec: Object) -> bool:
    """Whether there is anything of a container on this host besides its record and snapshot."""
    return bool(_groups(id, spec)) or (RUNC_ROOT / namespace / id).exists()


def _groups(id: str, spec: Object) -> list[Path]:
    return [folder for folder in cgroups.folders(spec) if id in folder.name]


async def end_processes(id: str, spec: Object) -> int:
    """Nobody lives in the container's control group any more, and the group is gone. Returns how many were ended.

    A group whose name does not hold the container's id may be shared, and is left alone.
    """
    found = _groups(id, spec)
    ended: set[int] = set()
    loop = asyncio.get_running_loop()
    until = loop.time() + END_DEADLINE_S
    while found and (pids := cgroups.processes(found)):
        if loop.time() > until:
            raise Unavailable(f"processes {sorted(pids)} have not ended {END_DEADLINE_S:g} s after SIGKILL")
        cgroups.thaw(found)
        for pid in pids:
            kill(pid, partial(_lives_in, found, pid))
        ended |= pids
        await asyncio.sleep(POLL_S)
    cgroups.remove(found)
    return len(ended)


def _lives_in(found: list[Path], pid: int) -> bool:
    return pid in cgroups.processes(found)


def forget_state(namespace: str, id: str) -> None:
    """runc's own notes on a container that has no process any more; with them in the way it could not be made again."""
    if OUR_ID.fullmatch(id):
        shutil.rmtree(RUNC_ROOT / namespace / id, ignore_errors=True)


async def end_shim(shim: Shim) -> None:
    """The shim and what it started are gone."""
    doomed = [shim.process]
    if is_alive(shim.process):
        doomed += _identified(*descendants(shim.pid))
    for process in doomed:
        with contextlib.suppress(NotFound):
            send_signal(process, signal.SIGKILL)
    loop = asyncio.get_running_loop()
    until = loop.time() + END_DEADLINE_S
    while any(map(is_alive, doomed)):
        if loop.time() > until:
            raise Unavailable(f"shim {shim.pid} of {shim.id} has not ended {END_DEADLINE_S:g} s after SIGKILL")
        await asyncio.sleep(POLL_S)
