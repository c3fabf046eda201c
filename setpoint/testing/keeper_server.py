"""A real keeper (and pump, and on request containerd) in a folder of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from setpoint.drivers.keeper import KeeperClient
from setpoint.drivers.pump import Pump
from setpoint.keeper.children import start_time
from setpoint.keeper.wire import read_json
from setpoint.testing.waiting import eventually


class KeeperServer:
    """Starts and ends keepers of one pair of folders. As a context manager it leaves no process and no folder behind."""

    def __init__(self, *, containerd: str | None = None, links: bool = False) -> None:
        # Not pytest's tmp_path: its names are too long for the path of a unix socket.
        self.base = Path(tempfile.mkdtemp(prefix="setpoint-"))
        self.data_dir = self.base / "data"
        self.run_dir = self.base / "run"
        self.links = self.base / "links" if links else None
        self.client = KeeperClient(self.data_dir, self.run_dir, containerd=containerd, log_links=self.links)
        self.pump = Pump(self.run_dir)
        self._containerd = containerd
        self._seen: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> KeeperServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, *, ready: bool = True, **environment: str) -> int:
        """A keeper as a child of ours; its pid."""
        argv = [sys.executable, "-B", "-m", "setpoint.keeper", "--data-dir", str(self.data_dir), "--run-dir", str(self.run_dir)]
        argv += ["--containerd", self._containerd] if self._containerd else ["--no-containerd"]
        argv += ["--log-links", str(self.links)] if self.links else []
        self.base.mkdir(exist_ok=True)
        with open(self.base / "keeper.log", "ab") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        if ready:
            eventually(lambda: self.child("pump")["ready"], what="the pump answers")
        return self._process.pid

    def status(self) -> dict[str, Any]:
        """Empty while there is no keeper."""
        try:
            with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rwb") as file:
                sock.settimeout(5)
                sock.connect(str(self.run_dir / "keeper.sock"))
                file.write(b'{"op":"status"}\n')
                file.flush()
                status: dict[str, Any] = json.loads(file.readline())
        except (OSError, ValueError):
            return {}
        for pid in [status["pid"], *(child["pid"] for child in status["children"].values())]:
            if pid:
                self._seen[pid] = start_time(pid)
        return status

    def child(self, name: str) -> dict[str, Any]:
        row = self.status().get("children", {}).get(name)
        return row or {"pid": 0, "ready": False, "restarts": 0, "state": "stopped", "adopted": False}

    def kill_keeper(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self.status()
        self._process.send_signal(number)
        self._process.wait()

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """One of the keeper's children; its pid."""
        pid = int(self.child(name)["pid"])
        os.kill(pid, number)
        return pid

    def end(self) -> None:
        """Ends every process that was ever seen here, then removes the folders."""
        self.status()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for path in self.run_dir.glob("keeper/*.json"):
            saved = read_json(str(path))
            self._seen[saved["pid"]] = saved["start"]
        for pid, started in self._seen.items():
            if started and start_time(pid) == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                eventually(lambda pid=pid, started=started: start_time(pid) != started, what=f"{pid} ends")  # type: ignore[misc]
        shutil.rmtree(self.base, ignore_errors=True)
