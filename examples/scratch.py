"""The demo's scratch folder, and the way to leave nothing of it: processes, mounts, control groups, files.

Everything that the demo starts names the folder on its command line, or descends from a shim that does; so all of it is found
again by looking, whatever was interrupted and wherever.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from setpoint.client import Client
from setpoint.drivers.containerd import leftovers
from state.errors import StateError

CGROUPS = Path("/sys/fs/cgroup")
PROGRAM = Path(sys.executable).parent / "setpoint"


class Scratch:
    """One agent's folder; ``base`` names nothing else on this machine."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.data_dir, self.run_dir, self.log = base / "data", base / "run", base / "agent.log"
        self._host = f"unix://{self.run_dir}/api.sock"
        self._ids: set[str] = set()

    def ready(self) -> bool:
        """The agent serves and has adopted what runs."""
        try:
            Client(self._host).request("GET", "/readyz")
        except StateError:
            return False
        return True

    def tail(self, lines: int = 15) -> str:
        """The last lines of the agent's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def remember(self) -> None:
        """The ids of containers that run: by them their control groups are found when they have gone."""
        self._ids |= self._containers()

    def census(self) -> list[str]:
        """What there is besides files: processes, mounts, control groups, runc's notes."""
        self.remember()
        processes = [f"process {pid} ({name})" for pid, name in self._processes().items()]
        groups = [f"control group {path}" for path in self._groups()]
        notes = [f"{path}" for path in self._notes()]
        return processes + [f"mount {point}" for point in self._mounts()] + groups + notes

    def clean(self) -> list[str]:
        """Takes everything away: politely through the agent, then by force. Returns what could not be taken away."""
        self.remember()
        with contextlib.suppress(StateError, OSError, subprocess.SubprocessError):
            self._delete_containers()
        self._end_agent(within_s=10)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self._setpoint("keeper", "--stop", "--run-dir", str(self.run_dir), timeout=20)
        self.remember()
        self._kill_all()
        for point in reversed(self._mounts()):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        for path in self._groups():
            with contextlib.suppress(OSError):
                path.rmdir()
        for path in self._notes():
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.base, ignore_errors=True)
        return self.census() + ([str(self.base)] if self.base.exists() else [])

    def _delete_containers(self) -> None:
        """An agent knows best what a container consists of. If it was killed, it is started once more."""
        if not (self.data_dir / "store.db").exists():
            return
        if not self._agents():
            with open(self.log, "ab") as log:
                subprocess.Popen(
                    [str(PROGRAM), "agent", "--data-dir", str(self.data_dir), "--run-dir", str(self.run_dir)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        if _eventually(self.ready, within_s=20):
            self._setpoint("delete", "containers", "--all", "--force", timeout=30)

    def _setpoint(self, *words: str, timeout: float) -> None:
        environment = {**os.environ, "SETPOINT_HOST": self._host}
        subprocess.run([str(PROGRAM), *words], env=environment, check=False, capture_output=True, timeout=timeout)

    # what there is

    def _processes(self) -> dict[int, str]:
        """pid -> program of everything that names the folder, and of what descends from our shims."""
        found: dict[int, str] = {}
        for pid, argv in _all_processes():
            if any(str(self.base) in word for word in argv) and pid != os.getpid():
                found[pid] = os.path.basename(argv[0])
        for shim in [pid for pid, name in found.items() if name.startswith("containerd-shim")]:
            found |= dict.fromkeys(leftovers.descendants(shim), "in a container")
        return found

    def _agents(self) -> list[int]:
        return [pid for pid, argv in _all_processes() if "agent" in argv and str(self.data_dir) in argv]

    def _containers(self) -> set[str]:
        shims = leftovers.shims("setpoint", str(self.run_dir / "containerd" / "containerd.sock"))
        return {shim.id for shim in shims} | {path.name for path in self._notes()}

    def _notes(self) -> list[Path]:
        """What runc wrote down about our containers."""
        found = []
        for state in leftovers.RUNC_ROOT.glob("setpoint/*/state.json"):
            with contextlib.suppress(OSError, ValueError):
                if str(self.base) in json.dumps(json.loads(state.read_text()).get("config", {}).get("labels", [])):
                    found.append(state.parent)
        return found

    def _groups(self) -> list[Path]:
        """Ours by the container's id, the deepest first."""
        found = []
        for folder, below, _ in os.walk(CGROUPS):
            found += [Path(folder) / name for name in below if any(id in f"{folder}/{name}" for id in self._ids)]
        return sorted(found, key=lambda path: len(path.parts), reverse=True)

    def _mounts(self) -> list[str]:
        points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        return sorted(point for point in points if point.startswith(f"{self.base}/"))

    # by force

    def _end_agent(self, *, within_s: float) -> None:
        for pid in self._agents():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        _eventually(lambda: not self._agents(), within_s=within_s)

    def _kill_all(self) -> None:
        """Again and again: a process that is being started when we look may only be seen the next time."""

        def gone() -> bool:
            doomed = self._processes()
            for pid in doomed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not doomed

        _eventually(gone, within_s=10)


def _all_processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found.append((int(entry.name), argv[:-1] or [""]))
    return found


def _eventually(look: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
