"""The crash sweep's sample on the real kernel: SIGKILL at one call through a port, then an agent that finishes the work.

Closed world: what is left afterwards is what an undisturbed run leaves, and the bystander kept its process.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from setpoint.testing.agent_server import AgentServer, container
from setpoint.testing.waiting import eventually
from state.errors import InDoubt

pytestmark = [pytest.mark.containerd, pytest.mark.timeout(180)]

CREATE = [
    "ledger.put_all",
    "images.resolve",
    "sandboxes.ensure",
    "files.keep_file",
    "files.keep_shm",
    "runtime.create",
    "logs.open",
]
CREATE += ["runtime.launch", "store.patch"]
REPLACE = ["ledger.put_all", "runtime.signal", "runtime.reap", "runtime.create", "runtime.launch", "runtime.remove"]
STOP = ["ledger.put_all", "runtime.signal", "runtime.reap", "store.patch"]
REMOVE = [
    "ledger.put_all",
    "runtime.signal",
    "runtime.reap",
    "runtime.remove",
    "logs.close",
    "sandboxes.release",
    "files.remove",
]
REMOVE += ["store.patch"]
POINTS = [
    pytest.param(verb, site, when, id=f"{verb}-{site}-{when}")
    for verb, sites in (("create", CREATE), ("replace", REPLACE), ("stop", STOP), ("remove", REMOVE))
    for site in sites
    for when in ("before", "after")
]
SCRIPT = "exec sleep 1000"


@pytest.fixture(scope="module")
def bystander(server: AgentServer) -> int:
    server.apply(container("bystander", SCRIPT))
    return int(server.until_phase("bystander", "Running")["pid"])


@pytest.mark.parametrize(("verb", "site", "when"), POINTS)
def test_killed_there_it_converges(server: AgentServer, bystander: int, verb: str, site: str, when: str) -> None:
    if not alive(server, dead=False):
        server.start()
    name = f"{verb}-{site.replace('.', '-').replace('_', '-')}-{when}"
    declare(server, verb, name)
    uid = server.get(name)["metadata"]["uid"]
    server.kill(signal.SIGKILL)
    server.start(wait=False, dying=(site, when, uid))
    eventually(lambda: alive(server), within_s=30, what="the API of the dying agent")
    ACTS[verb](server, name)
    assert server._process is not None
    assert server._process.wait(30) == -signal.SIGKILL, server.tail()
    server.start()
    CHECKS[verb](server, name, uid)
    assert server.status("bystander")["pid"] == bystander
    assert server.status("bystander")["restartCount"] == 0
    clean(server, name)


def alive(server: AgentServer, *, dead: bool = True) -> bool:
    """It answers; one that has died already is told as ``dead``."""
    try:
        server.client.request("GET", "/readyz")
    except Exception:
        ended = server._process is None or server._process.poll() is not None
        return dead if ended else False
    return True


def declare(server: AgentServer, verb: str, name: str) -> None:
    """create: stored while held, so that the dying agent is the one that acts."""
    held = container(name, SCRIPT)
    if verb == "create":
        held["metadata"]["annotations"] = {"setpoint.dev/hold": "true"}
    server.apply(held)
    if verb == "create":
        # Shown first, so that the dying agent has nothing to write before it is told to begin.
        server.until(name, lambda s: any(c["type"] == "Held" for c in s.get("conditions", ())))
    else:
        server.until_phase(name, "Running")


def create(server: AgentServer, name: str) -> None:
    _send(server, name, {"metadata": {"annotations": {"setpoint.dev/hold": None}}})


def replace(server: AgentServer, name: str) -> None:
    _send(server, name, {"spec": {"env": [{"name": "A", "value": "1"}]}})


def stop(server: AgentServer, name: str) -> None:
    _send(server, name, {"spec": {"runState": "Stopped"}})


def remove(server: AgentServer, name: str) -> None:
    from setpoint.testing.agent_server import CONTAINER

    try:
        server.client.delete(CONTAINER, "default", name)
    except Exception:
        assert server._process is not None


def _send(server: AgentServer, name: str, patch: dict[str, object]) -> None:
    from setpoint.testing.agent_server import CONTAINER

    with contextlib.suppress(InDoubt):  # it may die of what it was told before it has answered
        server.client.patch(CONTAINER, "default", name, patch)


def runs_once(server: AgentServer, name: str, uid: str, revision: int) -> None:
    status = server.until(name, lambda s: s.get("phase") == "Running" and s.get("revision") == revision)
    id = f"{uid.replace('-', '')}-{revision}"
    assert status["containerID"] == id
    eventually(lambda: _mine(server, uid) == [id], what="one record")
    tasks = [line.split() for line in server.ctr("task", "ls").splitlines()]
    assert [row[0] for row in tasks if row and row[0].startswith(uid.replace("-", ""))] == [id]
    assert status["restartCount"] == 0
    assert Path(f"/proc/{status['pid']}").exists()


def created(server: AgentServer, name: str, uid: str) -> None:
    runs_once(server, name, uid, 1)


def replaced(server: AgentServer, name: str, uid: str) -> None:
    runs_once(server, name, uid, 2)


def stopped(server: AgentServer, name: str, uid: str) -> None:
    status = server.until_phase(name, "Exited")
    assert status["lastExit"]["requested"]
    assert status["exitCode"] == 137


def removed(server: AgentServer, name: str, uid: str) -> None:
    server.until_gone(name)
    eventually(lambda: not _mine(server, uid), what="no record")
    assert uid.replace("-", "") not in server.ctr("snapshot", "ls")
    eventually(lambda: not _left(server, uid), what=lambda: f"files: {_left(server, uid)}")


def clean(server: AgentServer, name: str) -> None:
    try:
        server.delete(name, gracePeriodSeconds=0)
    except Exception:
        return
    server.until_gone(name)


def _mine(server: AgentServer, uid: str) -> list[str]:
    return [id for id in server.ctr("container", "ls", "-q").split() if id.startswith(uid.replace("-", ""))]


def _left(server: AgentServer, uid: str) -> list[str]:
    paths = [
        str(p) for p in (*server.run_dir.rglob("*"), *server.data_dir.rglob("*")) if uid in p.name and "logs" not in p.parts
    ]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if uid in line]
    return paths + mounts


ACTS: dict[str, Callable[[AgentServer, str], None]] = {"create": create, "replace": replace, "stop": stop, "remove": remove}
CHECKS: dict[str, Callable[[AgentServer, str, str], None]] = {
    "create": created,
    "replace": replaced,
    "stop": stopped,
    "remove": removed,
}
