"""The agent dies; the data plane must not notice, and the next agent must find everything as it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from setpoint.testing.agent_server import AgentServer, container
from setpoint.testing.waiting import eventually

pytestmark = [pytest.mark.containerd, pytest.mark.timeout(240)]


@pytest.fixture
def restarted(server: AgentServer) -> Iterator[AgentServer]:
    yield server
    if not server.pid:
        server.start()


def test_killed_and_started_again_nothing_was_touched(restarted: AgentServer) -> None:
    server = restarted
    script = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"
    server.apply(
        container("counts", script),
        container("ends", "trap 'exit 42' TERM; while :; do sleep 0.05; done", restartPolicy="Never"),
        container("frozen", "exec sleep 1000", runState="Paused"),
        container("rests", "exec sleep 1000", runState="Stopped"),
    )
    before = {name: server.until_phase(name, "Running") for name in ("counts", "ends")}
    before["frozen"] = server.until_phase("frozen", "Paused")
    time.sleep(0.5)
    assert server.kill() == -signal.SIGKILL
    os.kill(before["ends"]["pid"], signal.SIGTERM)
    time.sleep(1.0)
    server.start()
    assert server.status("counts")["pid"] == before["counts"]["pid"]
    assert server.status("frozen")["pid"] == before["frozen"]["pid"]
    assert server.status("frozen")["phase"] == "Paused"
    ended = server.until_phase("ends", "Exited")
    assert (ended["exitCode"], ended["reason"], ended["restartCount"]) == (42, "Error", 0)
    assert server.status("rests")["phase"] == "Created"
    numbers = [int(line) for line in server.logs("counts").split()]
    assert numbers == list(range(1, len(numbers) + 1)), "no line was lost or told twice"
    assert len(numbers) > 100


def test_stop_of_the_agent_leaves_containers_running_and_says_so(restarted: AgentServer) -> None:
    server = restarted
    server.apply(container("stays", "exec sleep 1000"))
    pid = server.until_phase("stays", "Running")["pid"]
    assert server.kill(signal.SIGTERM) == 0
    assert Path(f"/proc/{pid}").exists()
    assert "containers go on running" in server.tail(1)
    server.start()
    assert server.status("stays")["pid"] == pid


def test_containerd_killed_with_the_agent_dead_is_put_back_and_adopted(restarted: AgentServer) -> None:
    server = restarted
    server.apply(container("under", "exec sleep 1000"))
    pid = server.until_phase("under", "Running")["pid"]
    server.kill()
    old = _containerd(server)
    os.kill(old, signal.SIGKILL)
    eventually(lambda: _containerd(server) not in (0, old), what="the keeper puts containerd back")
    server.start()
    assert server.status("under")["pid"] == pid
    assert server.status("under")["restartCount"] == 0


def test_containerd_killed_under_the_agent_restarts_nothing(server: AgentServer) -> None:
    server.apply(container("calm", "exec sleep 1000"))
    pid = server.until_phase("calm", "Running")["pid"]
    os.kill(_containerd(server), signal.SIGKILL)
    time.sleep(1.0)
    eventually(server.ready, within_s=15, what="ready again")
    server.apply(container("after", "exec sleep 1000"))
    server.until_phase("after", "Running")
    assert server.status("calm")["pid"] == pid
    assert server.status("calm")["restartCount"] == 0


def test_a_second_agent_goes_away_and_writes_nothing(server: AgentServer) -> None:
    import subprocess
    import sys

    argv = [sys.executable, "-m", "setpoint", "agent", "--data-dir", str(server.data_dir), "--run-dir", str(server.run_dir)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "another agent uses" in second.stderr
    assert server.ready()


def test_a_lost_ledger_is_read_back_from_the_node(restarted: AgentServer) -> None:
    server = restarted
    server.apply(container("known", "exec sleep 1000"))
    before = server.until_phase("known", "Running")
    server.kill()
    for path in server.data_dir.glob("ledger.db*"):
        path.unlink()
    server.start()
    time.sleep(1.0)
    after = server.status("known")
    assert (after["phase"], after["pid"], after["revision"]) == ("Running", before["pid"], before["revision"])


def test_a_lost_store_kills_nothing_and_its_containers_can_be_adopted(server: AgentServer) -> None:
    server.apply(container("orphan", "exec sleep 1000"))
    before = server.until_phase("orphan", "Running")
    uid = server.get("orphan")["metadata"]["uid"]
    server.client.patch(_kind(), "default", "orphan", {"metadata": {"finalizers": []}})
    server.delete("orphan")
    server.until_gone("orphan")
    rows = eventually(lambda: server.client.request("GET", "/setpoint/v1/orphans")["items"], what="it is listed")
    assert [row["name"] for row in rows] == ["orphan"]
    time.sleep(4)
    assert Path(f"/proc/{before['pid']}").exists()
    server.client.request("POST", f"/setpoint/v1/orphans/{rows[0]['id']}/adopt")
    after = server.until_phase("orphan", "Running")
    assert (after["pid"], server.get("orphan")["metadata"]["uid"]) == (before["pid"], uid)


def _containerd(server: AgentServer) -> int:
    import json

    path = server.run_dir / "keeper" / "containerd.json"
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return 0


def _kind():  # type: ignore[no-untyped-def]
    from setpoint.testing.agent_server import CONTAINER

    return CONTAINER
