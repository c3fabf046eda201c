"""The engines beside us, each as its distribution starts it, with roots of its own: dockerd with its containerd, and ctr.

Owns: the processes started here (ended by pid), a folder below /tmp, the namespaces of one holder process, and the control
groups below a parent named after this process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.processes import descendants, end, eventually, mounts_below, reap_groups
from bench.unixhttp import Connection, Refused, Stream
from setpoint.testing.images import busybox_archive

COMMAND = ("sleep", "1000000")
PIDS_LIMIT = 16384
"""Ours by default; dockerd is told the same."""
REFERENCE = "docker.io/library/busybox:test"
THREADS = 8

_HOLD = """
mkdir -p "$1/groups" && mount --rbind /sys/fs/cgroup "$1/groups" && mount -t sysfs sysfs /sys &&
mount --move "$1/groups" /sys/fs/cgroup && ip link set lo up && echo held && exec sleep 1000000
"""


class Dockerd:
    """Debian's dockerd, live restore on, in a network namespace of its own with that namespace's sysfs."""

    name = "dockerd"

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="sb-", dir="/tmp"))
        self.socket = str(self.base / "d.sock")
        self.log = self.base / "dockerd.log"
        self._groups = f"setpoint-bench-{os.getpid()}"
        self._holder: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self.connection = Connection(self.socket)
        self.stream: Stream | None = None

    def __enter__(self) -> Dockerd:
        try:
            self._hold()
            self.launch()
            self.connection.ask(
                "POST", "/images/load", busybox_archive(self.base / "image.tar").read_bytes(), "application/x-tar"
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # the daemon

    @property
    def pid(self) -> int:
        return self._daemon.pid if self._daemon else 0

    def launch(self) -> float:
        """Starts it; the seconds from exec until it lists. Watches its events from then on."""
        assert self._holder is not None
        argv = ["nsenter", "-t", str(self._holder.pid), "-n", "-m", "dockerd", "--host", f"unix://{self.socket}"]
        argv += ["--data-root", str(self.base / "data"), "--exec-root", str(self.base / "exec")]
        argv += ["--pidfile", str(self.base / "pid"), "--live-restore", "--cgroup-parent", f"/{self._groups}"]
        with self.log.open("ab") as log:
            began = time.perf_counter()
            self._daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(self._lists, within_s=60, what=lambda: f"dockerd answers\n{self.log.read_text()[-2000:]}")
        took = time.perf_counter() - began
        self.stream = Stream(self.socket, "/events")
        return took

    def kill(self) -> None:
        """SIGKILL to the daemon; its containerd goes with it by its parent-death signal, as it is built. Waits for that too:
        a successor that still finds its pid would wait for it in vain."""
        assert self._daemon is not None
        containerd = Path(f"/proc/{self.containerd()}")
        if self.stream:
            self.stream.close()
        self.connection.close()
        end(self._daemon, signal.SIGKILL)
        self._daemon = None
        eventually(lambda: not containerd.exists(), within_s=30, what=lambda: "dockerd's containerd ends")

    def _lists(self) -> bool:
        if self._daemon is not None and self._daemon.poll() is not None:
            raise AssertionError(f"dockerd ended:\n{self.log.read_text()[-3000:]}")
        try:
            self.running()
        except (OSError, Refused):
            self.connection.close()
            return False
        return True

    def running(self) -> set[str]:
        """Names of the running ones."""
        return {each["Names"][0].lstrip("/") for each in self.connection.ask("GET", "/containers/json")}

    def containerd(self) -> int:
        return next((p for p in descendants(self.pid) if Path(f"/proc/{p}/comm").read_text().strip() == "containerd"), 0)

    def shims(self) -> list[int]:
        """Their command lines name the socket of dockerd's containerd."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if b"containerd-shim" in line and str(self.base).encode() in line:
                    found.append(int(entry.name))
        return found

    # containers

    def start(self, name: str, *, restart: str = "no", over: Connection | None = None) -> None:
        connection = over or self.connection
        spec = {
            "Image": "busybox:test",
            "Cmd": list(COMMAND),
            "HostConfig": {"NetworkMode": "host", "PidsLimit": PIDS_LIMIT, "RestartPolicy": {"Name": restart}},
        }
        made = connection.ask("POST", f"/containers/create?name={name}", spec)
        connection.ask("POST", f"/containers/{made['Id']}/start")

    def remove(self, name: str, *, over: Connection | None = None) -> None:
        (over or self.connection).ask("DELETE", f"/containers/{name}?force=true&v=true")

    def start_all(self, names: Sequence[str], *, restart: str = "no") -> None:
        self._threads(names, lambda name, connection: self.start(name, restart=restart, over=connection))

    def remove_all(self, names: Sequence[str]) -> None:
        self._threads(names, lambda name, connection: self.remove(name, over=connection))

    def init(self, name: str) -> int:
        return int(self.connection.ask("GET", f"/containers/{name}/json")["State"]["Pid"])

    def until_started(self, name: str) -> None:
        """Its event says so."""
        assert self.stream is not None
        for event in self.stream.events(60):
            if event.get("Type") == "container" and event["Action"] == "start" and event["Actor"]["Attributes"]["name"] == name:
                return

    def _threads(self, names: Sequence[str], work: Callable[[str, Connection], None]) -> None:
        waiting, lock = iter(names), threading.Lock()
        failed: list[BaseException] = []

        def go() -> None:
            connection = Connection(self.socket)
            try:
                while not failed:
                    with lock:
                        name = next(waiting, None)
                    if name is None:
                        return
                    work(name, connection)
            except BaseException as error:
                failed.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=go) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    # its place

    def _hold(self) -> None:
        argv = ["unshare", "--net", "--mount", "--propagation", "slave", "sh", "-ec", _HOLD, "hold", str(self.base)]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != b"held":
            raise RuntimeError("no namespaces for dockerd")

    def close(self) -> None:
        if self._daemon is not None:
            with contextlib.suppress(OSError, Refused, AssertionError):
                everything = self.connection.ask("GET", "/containers/json?all=true")
                self.remove_all([each["Id"] for each in everything])
            if self.stream:
                self.stream.close()
            self.connection.close()
            end(self._daemon, signal.SIGTERM)
        for shim in self.shims():
            for pid in (*descendants(shim), shim):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._holder is not None:
            end(self._holder, signal.SIGKILL)
        for point in sorted(mounts_below(self.base), reverse=True):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        reap_groups(self._groups)
        shutil.rmtree(self.base, ignore_errors=True)


class Ctr:
    """``ctr run -d --net-host`` against Debian's containerd in a root of its own."""

    name = "ctr run -d"

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
        self.socket = str(self.base / "c.sock")
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Ctr:
        try:
            self._launch()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self) -> None:
        config = self.base / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.base}/root"\nstate = "{self.base}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{self.socket}"\n'
        )
        with (self.base / "log").open("ab") as log:
            argv = ["containerd", "--config", str(config)]
            self._daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(lambda: self._ctr("version", check=False).returncode == 0, within_s=30, what=lambda: "containerd answers")
        archive = busybox_archive(self.base / "image.tar")
        self._ctr("images", "import", "--snapshotter", "overlayfs", str(archive))

    def start(self, name: str) -> None:
        self._ctr("run", "-d", "--net-host", "--snapshotter", "overlayfs", REFERENCE, name, *COMMAND)

    def remove(self, name: str) -> None:
        self._ctr("task", "rm", "-f", name, check=False)
        self._ctr("container", "rm", name, check=False)

    def _ctr(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        argv = ["ctr", "-a", self.socket, "-n", "bench", *args]
        return subprocess.run(argv, check=check, stdin=subprocess.DEVNULL, capture_output=True)

    def close(self) -> None:
        if self._daemon is not None:
            for name in self._ctr("container", "ls", "-q", check=False).stdout.decode().split():
                self.remove(name)
            end(self._daemon, signal.SIGTERM)
        for point in sorted(mounts_below(self.base), reverse=True):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        reap_groups("bench")
        shutil.rmtree(self.base, ignore_errors=True)


@contextlib.contextmanager
def peers() -> Iterator[tuple[Dockerd, Ctr]]:
    with Dockerd() as dockerd, Ctr() as ctr:
        yield dockerd, ctr
