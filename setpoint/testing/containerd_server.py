"""A private containerd for tests: own root, state and socket in a folder of its own, and nothing left behind.

Owns: the processes it started (by pid), shims whose command line names its socket, and everything below its folder. containerd
keeps two things elsewhere whatever its settings say, which are cleaned by name: shim sockets in ``/run/containerd/s`` (read
from each bundle) and runc's state in ``/run/containerd/runc/NAMESPACE/ID``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from setpoint._pb import containers_pb2, tasks_pb2
from setpoint.drivers.containerd import rpc
from setpoint.drivers.containerd.channel import Channel
from setpoint.testing.clearing import kill_tree, remove_folder
from state.errors import StateError

START_DEADLINE_S = 30.0
POLL_S = 0.02

_DISABLED_V1 = ("io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp")
_DISABLED_V2 = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.podsandbox.controller.v1.podsandbox",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
)


@dataclass(frozen=True, slots=True)
class Release:
    """One containerd to test against. ``folder`` holds its programs; empty = found on PATH."""

    name: str
    config_version: int
    folder: Path | None = None

    @property
    def binary(self) -> str:
        return str(self.folder / "containerd") if self.folder else shutil.which("containerd") or "containerd"

    @property
    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        if not shutil.which(self.binary):
            hint = "tests/parts/containerd2.sh builds it" if self.folder else "Debian's package containerd has it"
            return f"{self.binary} is not there: {hint}"
        return "" if os.geteuid() == 0 else "needs root"


REPOSITORY = Path(__file__).resolve().parents[2]

RELEASES = (
    Release("containerd-1.6", 2),
    Release("containerd-2.4", 3, REPOSITORY / ".cache/containerd-2.4.2/bin"),
)
"""Debian's, and the one that ``tests/parts/containerd2.sh`` builds."""


class ContainerdServer:
    """Start, kill, start again, clean up. ``folder`` should be short: a socket's path has 107 bytes at most."""

    def __init__(self, folder: Path, release: Release, namespace: str = "setpoint", *, metrics: str = "") -> None:
        """``metrics``: host:port on the loopback where containerd counts its own calls for Prometheus."""
        self.folder = folder
        self.release = release
        self.namespace = namespace
        self.metrics = metrics
        self.address = str(folder / "c.sock")
        self.log = folder / "containerd.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of containerd itself; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def environment(self) -> dict[str, str]:
        """With this release's shim first on PATH."""
        path = os.environ.get("PATH", "")
        folders = [str(self.release.folder)] if self.release.folder else []
        return {**os.environ, "PATH": ":".join([*folders, path])}

    async def start(self) -> None:
        """It serves. Raises RuntimeError with the end of its log when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.toml"
        config.write_text(self._config())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [self.release.binary, "--config", str(config)],
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        loop = asyncio.get_running_loop()
        until = loop.time() + START_DEADLINE_S
        while not await self._serves():
            if self._process.poll() is not None or loop.time() > until:
                raise RuntimeError(f"containerd did not start: {self.log.read_text()[-2000:]}")
            await asyncio.sleep(POLL_S)

    async def _serves(self) -> bool:
        channel = Channel(self.address, self.namespace)
        try:
            await channel.call(rpc.CONTAINER_GET, containers_pb2.GetContainerRequest(id="none"), timeout_s=2)
        except StateError as error:
            return error.reason == "NotFound"
        finally:
            await channel.close()
        return True

    def _config(self) -> str:
        disabled = _DISABLED_V1 if self.release.config_version == 2 else _DISABLED_V2
        names = ", ".join(f'"{name}"' for name in disabled)
        return (
            f"version = {self.release.config_version}\n"
            f'root = "{self.folder}/root"\nstate = "{self.folder}/state"\ntemp = ""\n'
            f"disabled_plugins = [{names}]\n"
            f'[grpc]\naddress = "{self.address}"\n'
            + (f'[metrics]\naddress = "{self.metrics}"\ngrpc_histogram = false\n' if self.metrics else "")
        )

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """containerd has ended; shims and containers go on."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        loop = asyncio.get_running_loop()
        until = loop.time() + START_DEADLINE_S
        while process.poll() is None:
            if loop.time() > until:
                process.kill()
            await asyncio.sleep(POLL_S)

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)

    def shim(self, id: str) -> int:
        """Pid of the shim of a container; 0 when there is none."""
        for pid in self._shims():
            argv = _argv(pid)
            helper = {"start", "delete"} & set(argv)
            if not helper and "-id" in argv and argv[argv.index("-id") + 1] == id:
                return pid
        return 0

    def _shims(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                argv = _argv(int(entry.name))
                ours = "-address" in argv and argv[argv.index("-address") + 1] == self.address
                if ours and "containerd-shim" in os.path.basename(argv[0]):
                    found.append(int(entry.name))
        return found

    async def close(self) -> None:
        """Everything that it made is gone."""
        if self.pid:
            await self._end_tasks()
            await self.stop()
        for pid in self._shims():
            kill_tree(pid)
        self._clean_bundles()
        remove_folder(self.folder)

    async def _end_tasks(self) -> None:
        channel = Channel(self.address, self.namespace)
        try:
            tasks = (await channel.call(rpc.TASK_LIST, tasks_pb2.ListTasksRequest())).tasks
            await asyncio.gather(*(self._end_task(channel, task.id) for task in tasks))
        except StateError:
            pass  # the hard way follows
        finally:
            await channel.close()

    async def _end_task(self, channel: Channel, id: str) -> None:
        with contextlib.suppress(StateError):
            await channel.call(rpc.TASK_RESUME, tasks_pb2.ResumeTaskRequest(container_id=id), timeout_s=5)
        with contextlib.suppress(StateError):
            await channel.call(rpc.TASK_KILL, tasks_pb2.KillRequest(container_id=id, signal=9, all=True), timeout_s=5)
            await channel.call(rpc.TASK_WAIT, tasks_pb2.WaitRequest(container_id=id), timeout_s=5)
        with contextlib.suppress(StateError):
            await channel.call(rpc.TASK_DELETE, tasks_pb2.DeleteTaskRequest(container_id=id), timeout_s=5)

    def _clean_bundles(self) -> None:
        for bundle in (self.folder / "state" / "io.containerd.runtime.v2.task" / self.namespace).glob("*"):
            with contextlib.suppress(OSError):
                address = (bundle / "address").read_text().strip().removeprefix("unix://")
                if address.startswith("/run/containerd/s/"):
                    Path(address).unlink(missing_ok=True)
            shutil.rmtree(Path("/run/containerd/runc") / self.namespace / bundle.name, ignore_errors=True)


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]
