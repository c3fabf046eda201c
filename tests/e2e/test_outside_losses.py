"""What the agent depends on is lost, hangs or runs out: nothing that runs is touched, and it goes on by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from setpoint.keeper.wire import read_json
from setpoint.testing.agent_server import AgentServer, container
from setpoint.testing.waiting import eventually

pytestmark = [pytest.mark.containerd, pytest.mark.timeout(120)]


def test_a_lost_store_leaves_orphans_that_can_be_adopted(server: AgentServer) -> None:
    server.apply(container("lost", "exec sleep 1000"))
    pid = server.until_phase("lost", "Running")["pid"]
    server.kill(signal.SIGTERM)
    for path in server.data_dir.glob("store.db*"):
        path.unlink()
    server.start()
    (orphan,) = eventually(lambda: server.client.request("GET", "/setpoint/v1/orphans")["items"], what="the orphan is listed")
    assert (orphan["name"], orphan["pid"], orphan["adoptable"]) == ("lost", pid, True)
    server.client.request("POST", f"/setpoint/v1/orphans/{orphan['id']}/adopt")
    assert server.until_phase("lost", "Running")["pid"] == pid
    server.delete("lost", gracePeriodSeconds=0)
    server.until_gone("lost")


def test_a_stopped_containerd_is_unknown_and_back_at_once(server: AgentServer) -> None:
    server.apply(container("frozen", "exec sleep 1000"))
    pid = server.until_phase("frozen", "Running")["pid"]
    containerd = read_json(str(server.run_dir / "keeper" / "containerd.json"))["pid"]
    os.kill(containerd, signal.SIGSTOP)
    try:
        server.until_phase("frozen", "Unknown", within_s=12)
    finally:
        os.kill(containerd, signal.SIGCONT)
    assert server.until_phase("frozen", "Running", within_s=10)["pid"] == pid


def test_no_descriptor_left_ends_nothing(server: AgentServer) -> None:
    server.apply(container("short", "exec sleep 1000"))
    pid = server.until_phase("short", "Running")["pid"]
    used = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
    subprocess.run(["prlimit", f"--pid={server.pid}", f"--nofile={used + 8}:{used + 8}"], check=True)
    idle = []
    for _ in range(12):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(server.run_dir / "api.sock"))
        idle.append(connection)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["tail", f"--pid={server.pid}", "-f", "/dev/null"], timeout=8, check=False)  # it does not end
    for connection in idle:
        connection.close()
    server.until("short", lambda s: s.get("phase") == "Running" and s["pid"] != pid)
