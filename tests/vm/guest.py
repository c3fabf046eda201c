"""For jobs, in the guest: say what is seen, wait for it, run the product's command line. The host shares the objects.

Lies beside ``job.py`` on the input disk. Only the standard library and the product's own client, for the emulator is slow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setpoint.client import Client
from state.errors import StateError
from state.objects import Object

Facts = dict[str, Any]
PATIENCE_S = 300.0
UNITS = ("setpoint.service", "setpoint-keeper.service", "setpoint-workloads.service")
CONTAINERS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"
OUTPUT = Path("/mnt/out")


def main(job: Callable[[], None]) -> None:
    """Runs the job; whatever goes wrong is told with the journal of our units."""
    say("began", boot=boot_id())
    try:
        job()
    except BaseException:
        why = traceback.format_exc()
        units = [part for unit in UNITS for part in ("-u", unit)]
        journal = run("journalctl", "--no-pager", "-b", "-n", "60", "-o", "short-monotonic", *units, check=False)
        threads = run("ps", "-eLo", "pid,tid,stat,time,wchan:24,args", check=False)
        say("failed", why=f"{why}\n{threads}\n{journal}")
        save_journal()
        sys.exit(1)


def say(said: str, **facts: Any) -> None:
    """One JSON line for the host."""
    # In one write: the console of a machine that goes down may end anywhere.
    os.write(1, json.dumps({"said": said, **facts}).encode() + b"\n")


def run(*argv: str, check: bool = True, within_s: float = PATIENCE_S) -> str:
    """What the program printed, errors included. RuntimeError when it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=within_s)
    text = done.stdout.decode(errors="replace")
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}:\n{text}")
    return text


def ctr(*argv: str) -> str:
    """containerd's own tool on the private one."""
    return run("ctr", "-a", "/run/setpoint/containerd/containerd.sock", "-n", "setpoint", *argv)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def marks(folder: Path) -> list[str]:
    """What containers wrote, oldest first."""
    path = folder / "marks"
    return path.read_text().splitlines() if path.exists() else []


def failed_units() -> list[str]:
    return [line.split()[0] for line in run("systemctl", "--failed", "--plain", "--no-legend").splitlines() if line.strip()]


def installation() -> Facts:
    """What of the product is in the system: units (known to systemd or as files), group, folders, processes, mounts."""
    known = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "setpoint*")
    enabled = {unit: run("systemctl", "is-enabled", unit, check=False).strip() for unit in UNITS}
    groups = [line.split(":")[0] for line in Path("/etc/group").read_text().splitlines()]
    folders = [Path("/var/lib/setpoint"), Path("/run/setpoint"), Path("/run/setpoint/api.sock")]
    return {
        "known": sorted(line.split()[0] for line in known.splitlines() if line.strip()),
        "files": sorted(str(path) for path in Path("/etc/systemd/system").rglob("setpoint*")),
        "enabled": enabled,
        "group": "setpoint" in groups,
        "folders": {str(path): [oct(path.stat().st_mode & 0o7777), path.group()] for path in folders if path.exists()},
        "processes": processes(),
        "mounts": [row.split()[1] for row in Path("/proc/mounts").read_text().splitlines() if "/run/setpoint/" in row],
    }


def processes() -> list[str]:
    """Command lines of ours, of our containerd and of its shims."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if "setpoint" in line and "/mnt/in/job.py" not in line:
            found.append(line)
    return sorted(found)


def container(name: str, script: str, **spec: Any) -> Object:
    """One of the busybox image, with /srv/marks in it at /marks."""
    marks = {"name": "marks", "hostPath": {"path": "/srv/marks", "type": "DirectoryOrCreate"}}
    base = {
        "image": "docker.io/library/busybox:test",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "volumes": [marks],
        "volumeMounts": [{"name": "marks", "mountPath": "/marks"}],
        "terminationGracePeriodSeconds": 2,
    }
    return {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**base, **spec},
    }


def unit_state(unit: str) -> str:
    return run("systemctl", "show", "-P", "ActiveState", unit).strip()


def main_pid(unit: str) -> int:
    return int(run("systemctl", "show", "-P", "MainPID", unit).strip())


def eventually(look: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(0.5)
    return found


class Agent:
    """The installed agent, by its socket."""

    def __init__(self) -> None:
        self._client = Client(timeout_s=PATIENCE_S)

    def until_ready(self) -> None:
        def ready() -> bool:
            try:
                self._client.request("GET", "/readyz")
            except StateError:
                return False
            return True

        eventually(ready, "the agent is ready")

    def apply(self, *objects: Object) -> None:
        self._client.apply(objects, manager="test")

    def delete(self, name: str) -> None:
        self._client.request("DELETE", f"{CONTAINERS}/{name}", body={"gracePeriodSeconds": 0})

    def status(self, name: str) -> Object:
        return dict(self._client.request("GET", f"{CONTAINERS}/{name}").get("status") or {})

    def statuses(self) -> dict[str, Object]:
        items = self._client.request("GET", CONTAINERS)["items"]
        return {item["metadata"]["name"]: item.get("status") or {} for item in items}

    def uids(self) -> dict[str, str]:
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in self._client.request("GET", CONTAINERS)["items"]}

    def settled(self) -> bool:
        """Nothing is on its way any more."""
        items = self._client.request("GET", CONTAINERS)["items"]
        phases = {(item.get("status") or {}).get("phase") for item in items}
        return phases <= {"Running", "Exited", "Created"} and not any(i["metadata"].get("deletionTimestamp") for i in items)

    def logs(self, name: str) -> str:
        return str(self._client.request("GET", f"{CONTAINERS}/{name}/log"))

    def until_phase(self, name: str, phase: str) -> Object:
        seen: Object = {}

        def look() -> bool:
            seen.clear()
            seen.update(self.status(name))
            return seen.get("phase") == phase

        try:
            eventually(look, f"{name} is {phase}")
        except TimeoutError as late:
            raise TimeoutError(f"{late}: {json.dumps(seen)}") from None
        return dict(seen)

    def pids(self) -> dict[str, int]:
        return {name: status.get("pid") or 0 for name, status in self.statuses().items()}


def save_journal(name: str = "journal") -> None:
    """The journal of this boot on the output disk, safe from whatever comes next."""
    text = run("journalctl", "--no-pager", "-b", "-o", "short-monotonic", check=False)
    (OUTPUT / name).write_text(text)
    os.sync()
