"""Setpoint as it is measured: a whole agent in a scratch folder, over one kept-alive connection and one watch."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers import COMMAND, REFERENCE
from bench.processes import eventually
from bench.unixhttp import Connection, Refused, Stream
from setpoint.drivers.containerd import leftovers
from setpoint.keeper.wire import read_json
from setpoint.testing.agent_server import AgentServer

CONTAINERS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"


class Setpoint:
    """``containerd``: an external socket, empty for the private one. ``hooks``: a folder on the agent's PYTHONPATH."""

    name = "setpoint"

    def __init__(self, *, containerd: str = "", hooks: str = "", **settings: Any) -> None:
        chosen: dict[str, Any] = {"resync_s": 30, **({"containerd": containerd} if containerd else {}), **settings}
        self.server = AgentServer(**chosen)
        # As everybody has it: modules are compiled once, not at every start of the agent.
        self.server._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if hooks:
            self.server._environment["PYTHONPATH"] = hooks
        self.connection = Connection(str(self.server.run_dir / "api.sock"))
        self.watch: Stream | None = None

    def __enter__(self) -> Setpoint:
        try:
            self.server.start()
            self.server.load_busybox()
            self.follow()
        except BaseException:
            self.server.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self.server.end()

    # the agent

    def follow(self) -> None:
        """Watches all containers from now on."""
        listed = self.connection.ask("GET", CONTAINERS)
        since = listed["metadata"]["resourceVersion"]
        self.watch = Stream(self.connection.path, f"{CONTAINERS}?watch=true&resourceVersion={since}")

    def leave(self) -> None:
        if self.watch:
            self.watch.close()
        self.connection.close()

    def kill(self) -> None:
        self.leave()
        self.server.kill(signal.SIGKILL)

    def launch(self, count: int) -> float:
        """Starts the agent; the seconds from exec until it is ready and lists ``count`` running."""
        began = time.perf_counter()
        self.server.start(wait=False)
        eventually(lambda: self._adopted(count), within_s=60, what=lambda: f"adopts\n{self.server.tail()}")
        return time.perf_counter() - began

    def _adopted(self, count: int) -> bool:
        try:
            self.connection.ask("GET", "/readyz")
            return len(self.running()) >= count
        except (OSError, Refused):
            self.connection.close()
            return False

    def running(self) -> dict[str, int]:
        """name -> pid of those listed as Running."""
        items = self.connection.ask("GET", CONTAINERS)["items"]
        return {i["metadata"]["name"]: i["status"]["pid"] for i in items if (i.get("status") or {}).get("phase") == "Running"}

    def processes(self) -> dict[str, int]:
        """The pids of agent, keeper, pump and the private containerd."""
        children = {path.stem: read_json(str(path))["pid"] for path in (self.server.run_dir / "keeper").glob("*.json")}
        keeper = next(p for p in _parents(children["pump"]) if p > 1)
        return {"agent": self.server.pid, "keeper": keeper, **children}

    def shims(self, socket: str = "") -> list[int]:
        return [shim.pid for shim in leftovers.shims("setpoint", socket or str(self.server.socket))]

    # containers

    @staticmethod
    def declaration(name: str) -> dict[str, Any]:
        spec = {"image": REFERENCE, "imagePullPolicy": "IfNotPresent", "command": list(COMMAND), "hostNetwork": True}
        meta = {"name": name, "namespace": "default"}
        return {"apiVersion": "setpoint.dev/v1alpha1", "kind": "Container", "metadata": meta, "spec": spec}

    def start(self, name: str) -> None:
        """From the POST until the watch says Running."""
        self.connection.ask("POST", CONTAINERS, self.declaration(name))
        self.until_running({name})

    def start_all(self, names: Sequence[str]) -> None:
        """One apply."""
        body = {"objects": [self.declaration(name) for name in names], "manager": "setpoint"}
        self.connection.ask("POST", "/setpoint/v1/apply", body)
        self.until_running(set(names))

    def remove(self, name: str) -> None:
        self.remove_all([name])

    def remove_all(self, names: Sequence[str]) -> None:
        for name in names:
            self.connection.ask("DELETE", f"{CONTAINERS}/{name}", {"gracePeriodSeconds": 0})
        left = set(names)
        assert self.watch is not None
        for event in self.watch.events():
            if event["type"] == "DELETED":
                left.discard(event["object"]["metadata"]["name"])
                if not left:
                    return

    def until_running(self, names: set[str], *, not_pid: int = 0) -> None:
        assert self.watch is not None
        left = set(names)
        for event in self.watch.events():
            status = event["object"].get("status") or {}
            if status.get("phase") == "Running" and status.get("pid") != not_pid:
                left.discard(event["object"]["metadata"]["name"])
                if not left:
                    return


def _parents(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
