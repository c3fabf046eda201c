"""A real agent with keeper, pump and containerd in a folder of its own, for tests and benchmarks of the whole product.

As a context manager it leaves no process, mount, control group or folder behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from setpoint.client import Client
from setpoint.drivers.containerd import leftovers
from setpoint.drivers.processes import process_start
from setpoint.keeper.wire import read_json
from setpoint.testing.clearing import kill_tree, remove_folder
from setpoint.testing.images import REFERENCE, busybox_archive
from setpoint.testing.waiting import eventually
from state.errors import NotFound, StateError
from state.objects import API_VERSION, Object
from state.resources.types import TYPES

CONTAINER = next(kind for kind in TYPES if kind.kind == "Container")
START_PATIENCE_S = 60.0


class AgentServer:
    """Starts, kills and starts again one agent. ``settings`` go into its configuration file."""

    def __init__(self, *, containerd_program: str = "containerd", path: str = "", **settings: object) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
        self.data_dir, self.run_dir = self.base / "data", self.base / "run"
        self.socket = self.run_dir / "containerd" / "containerd.sock"
        self.client = Client(f"unix://{self.run_dir}/api.sock")
        self.log = self.base / "agent.log"
        self._settings = {"resync_s": 3, "containerd_program": containerd_program, **settings}
        self._environment = {**os.environ, **({"PATH": f"{path}:{os.environ['PATH']}"} if path else {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> AgentServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # the agent

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self, *, wait: bool = True, dying: tuple[str, str, str] | None = None) -> None:
        """``dying``: (site, when, about), as :mod:`setpoint.testing.dying_agent` takes them."""
        config = self.base / "agent.yaml"
        config.write_text("".join(f"{name}: {value}\n" for name, value in self._settings.items()))
        argv = [sys.executable, "-m", "setpoint", "agent", "--config", str(config)]
        argv += ["--data-dir", str(self.data_dir), "--run-dir", str(self.run_dir)]
        if dying:
            argv = [sys.executable, "-m", "setpoint.testing.dying_agent", *dying, str(config)]
            argv += [str(self.data_dir), str(self.run_dir)]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        if wait:
            eventually(self.ready, within_s=START_PATIENCE_S, what=lambda: f"readyz\n{self.tail()}")

    def ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"the agent ended with {self._process.returncode}:\n{self.tail()}")
        try:
            self.client.request("GET", "/readyz")
        except StateError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Ends the agent alone; its exit status as the kernel tells it (negative: the signal)."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process = None
        return status

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # what tests do and look at

    def load_busybox(self, **config: Any) -> str:
        archive = self.base / "busybox.tar"
        busybox_archive(archive, **config)
        with open(archive, "rb") as file:
            return self.client.load_image(file)[0]

    def apply(self, *objects: Object, **options: Any) -> list[Object]:
        return self.client.apply(objects, **{"manager": "test", **options})

    def get(self, name: str, namespace: str = "default") -> Object:
        return self.client.get(CONTAINER, namespace, name)

    def status(self, name: str, namespace: str = "default") -> Object:
        return self.get(name, namespace).get("status") or {}

    def until(
        self, name: str, want: Callable[[Object], object], *, within_s: float = 20.0, namespace: str = "default"
    ) -> Object:
        """The status once ``want`` is true of it."""

        def look() -> Object | None:
            status = self.status(name, namespace)
            return status if want(status) else None

        return eventually(look, within_s=within_s, what=lambda: f"{name}: {self.status(name, namespace)}\n{self.tail(8)}") or {}

    def until_phase(self, name: str, phase: str, **how: Any) -> Object:
        return self.until(name, lambda s: s.get("phase") == phase, **how)

    def until_gone(self, name: str, *, within_s: float = 20.0, namespace: str = "default") -> None:
        def gone() -> bool:
            try:
                self.get(name, namespace)
            except NotFound:
                return True
            return False

        eventually(gone, within_s=within_s, what=lambda: f"{name} goes: {self.status(name)}\n{self.tail(8)}")

    def delete(self, name: str, namespace: str = "default", **options: Any) -> None:
        self.client.delete(CONTAINER, namespace, name, **options)

    def ctr(self, *args: str, check: bool = True) -> str:
        """containerd's own tool, as somebody outside uses it."""
        argv = ["ctr", "-a", str(self.socket), "-n", "setpoint", *args]
        return subprocess.run(argv, check=check, capture_output=True, text=True).stdout

    def logs(self, name: str, **query: Any) -> str:
        return b"".join(self.client.logs(CONTAINER, "default", name, **query)).decode()

    # the end

    def end(self) -> None:
        self._remove_containers()
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(20)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._process = None
        self._end_keeper()
        for shim in leftovers.shims("setpoint", str(self.socket)):
            kill_tree(shim.pid)
        remove_folder(self.base)

    def _remove_containers(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(StateError, AssertionError):
            items = self.client.list(CONTAINER)["items"]
            for obj in items:
                meta = obj["metadata"]
                with contextlib.suppress(NotFound):
                    note = {"metadata": {"annotations": {"setpoint.dev/hold": None}}}
                    self.client.patch(CONTAINER, meta["namespace"], meta["name"], note)
                    self.client.delete(CONTAINER, meta["namespace"], meta["name"], gracePeriodSeconds=0)
            eventually(lambda: not self.client.list(CONTAINER)["items"], within_s=60.0, what="everything is removed")

    def _end_keeper(self) -> None:
        """Every child of the keeper that its state files name, then the keeper's own lock file's holder by its socket."""
        import asyncio

        from setpoint.drivers.keeper import KeeperClient

        with contextlib.suppress(StateError):
            asyncio.run(KeeperClient(self.data_dir, self.run_dir).stop(containerd=True))
        for path in (self.run_dir / "keeper").glob("*.json"):
            saved = read_json(str(path))
            with contextlib.suppress(OSError, KeyError, ValueError):
                if process_start(saved["pid"]) == saved["start"]:
                    os.kill(saved["pid"], signal.SIGKILL)


def container(name: str, script: str = "", **spec: Any) -> Object:
    """A container of the busybox image: ``script`` is run by its shell. A grace period of 1 s keeps tests short."""
    command = {"command": ["sh", "-c", script]} if script else {}
    base = {"image": REFERENCE, "imagePullPolicy": "IfNotPresent", "terminationGracePeriodSeconds": 1}
    return {
        "apiVersion": API_VERSION,
        "kind": "Container",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**base, **command, **spec},
    }


@contextlib.contextmanager
def agent(**settings: Any) -> Iterator[AgentServer]:
    """An agent that has the busybox image."""
    with AgentServer(**settings) as server:
        server.load_busybox()
        yield server
