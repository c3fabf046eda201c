"""A container's life on the real kernel, changed from outside with the outside's own tools."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from setpoint.testing.agent_server import AgentServer, container
from setpoint.testing.waiting import eventually

pytestmark = [
    pytest.mark.containerd,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("server", ["containerd-1.6", "containerd-2.4"], indirect=True, scope="module"),
]


def test_declared_it_runs_and_its_output_is_kept(server: AgentServer) -> None:
    server.apply(container("hello", "echo to-stdout; echo to-stderr >&2; exec sleep 1000"))
    status = server.until_phase("hello", "Running")
    assert Path(f"/proc/{status['pid']}").exists()
    eventually(lambda: "to-stderr" in server.logs("hello") and "to-stdout" in server.logs("hello"), what="both streams")
    assert status["containerID"] in server.ctr("task", "ls")


@pytest.mark.parametrize("how", ["kill", "task", "record", "shim"])
def test_ended_from_outside_it_comes_back(server: AgentServer, how: str) -> None:
    name = f"drift-{how}"
    server.apply(container(name, "exec sleep 1000"))
    before = server.until_phase(name, "Running")
    id, pid = before["containerID"], before["pid"]
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    elif how == "shim":
        os.kill(_shim(pid), signal.SIGKILL)
    else:
        server.ctr("task", "delete", "-f", id, check=False)
        if how == "record":
            server.ctr("container", "delete", id, check=False)
    after = server.until(name, lambda s: s.get("phase") == "Running" and s.get("pid") not in (None, pid), within_s=15)
    assert after["restartCount"] == 1
    last = after["lastExit"]
    if how == "kill":
        assert (last["reason"], last["exitCode"], last["signal"]) == ("Error", 137, 9)
    if how == "shim":
        assert last["reason"] == "Unknown"
        assert "exitCode" not in last
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the old process is gone")


def test_a_paused_one_is_thawed_unless_declared_so(server: AgentServer) -> None:
    server.apply(container("froze", "exec sleep 1000"))
    id = server.until_phase("froze", "Running")["containerID"]
    server.ctr("task", "pause", id)
    eventually(lambda: _state(server, id) == "RUNNING", what="it runs again")
    server.apply(container("froze", "exec sleep 1000", runState="Paused"))
    server.until_phase("froze", "Paused")
    assert _state(server, id) == "PAUSED"


def test_stop_is_graceful_and_start_keeps_the_writable_layer(server: AgentServer) -> None:
    script = "trap 'echo bye > /bye; exit 0' TERM; cat /bye 2>/dev/null; while :; do sleep 0.1; done"
    server.apply(container("layer", script, terminationGracePeriodSeconds=10))
    server.until_phase("layer", "Running")
    time.sleep(0.3)
    server.apply(container("layer", script, terminationGracePeriodSeconds=10, runState="Stopped"))
    stopped = server.until_phase("layer", "Exited")
    assert (stopped["exitCode"], stopped["reason"]) == (0, "Completed")
    server.apply(container("layer", script, terminationGracePeriodSeconds=10, runState="Running"))
    server.until_phase("layer", "Running")
    eventually(lambda: "bye" in server.logs("layer"), what="the file written before the stop")


def test_exit_codes_and_policies(server: AgentServer) -> None:
    server.apply(container("seven", "exit 7", restartPolicy="Never"), container("zero", "exit 0", restartPolicy="OnFailure"))
    assert server.until_phase("seven", "Exited")["exitCode"] == 7
    assert server.until_phase("zero", "Exited")["exitCode"] == 0
    server.apply(container("missing", "", command=["/no/such"], restartPolicy="Never"))
    assert server.until_phase("missing", "Exited")["exitCode"] == 127


def test_replacement_and_put_back(server: AgentServer) -> None:
    server.apply(container("swap", "exec sleep 1000"))
    first = server.until_phase("swap", "Running")
    server.apply(container("swap", "exec sleep 1001"))
    second = server.until("swap", lambda s: s.get("revision") == 2 and s.get("phase") == "Running")
    eventually(lambda: first["containerID"] not in server.ctr("container", "ls", "-q"), what="the old record goes")
    server.apply(container("swap", "", command=["/no/such"]))
    back = server.until("swap", lambda s: any(c["type"] == "ReplacementFailed" for c in s.get("conditions", ())))
    assert "/no/such" in next(c["message"] for c in back["conditions"] if c["type"] == "ReplacementFailed")
    assert server.until_phase("swap", "Running")["containerID"] == second["containerID"]


def test_limits_are_real_and_change_live(server: AgentServer) -> None:
    server.apply(container("limits", "exec sleep 1000", resources={"limits": {"memory": "64Mi", "cpu": "500m", "pids": 50}}))
    status = server.until_phase("limits", "Running")
    assert _limit(status["pid"]) == 64 << 20
    server.apply(container("limits", "exec sleep 1000", resources={"limits": {"memory": "96Mi", "cpu": "500m", "pids": 50}}))
    eventually(lambda: _limit(status["pid"]) == 96 << 20, what="the new limit")
    assert server.status("limits")["pid"] == status["pid"]


def test_files_from_configmaps_and_secrets_follow(server: AgentServer) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "default"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cred", "namespace": "default"}}
    server.apply(
        container(
            "reader",
            "while :; do cat /conf/color /cred/word; echo; sleep 0.2; done",
            volumes=[{"name": "c", "configMap": {"name": "conf"}}, {"name": "s", "secret": {"secretName": "cred"}}],
            volumeMounts=[{"name": "c", "mountPath": "/conf"}, {"name": "s", "mountPath": "/cred"}],
            env=[{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "color"}}}],
        )
    )
    waits = server.until("reader", lambda s: any(c["type"] == "Waiting" for c in s.get("conditions", ())))
    assert "ConfigMap conf" in next(c["message"] for c in waits["conditions"] if c["type"] == "Waiting")
    server.apply({**config, "data": {"color": "red"}}, {**secret, "stringData": {"word": "hush"}})
    server.until_phase("reader", "Running", within_s=3)
    eventually(lambda: "redhush" in server.logs("reader"), what="both files")
    server.apply({**config, "data": {"color": "blue"}})
    eventually(lambda: "bluehush" in server.logs("reader"), within_s=5, what="the file follows")
    server.until("reader", lambda s: any(c["type"] == "ConfigStale" for c in s["conditions"]))
    assert "hush" not in server.tail(10_000)


def test_delete_leaves_nothing(server: AgentServer) -> None:
    server.apply(container("gone", "exec sleep 1000", volumes=[{"name": "d", "emptyDir": {}}]))
    status = server.until_phase("gone", "Running")
    uid = server.get("gone")["metadata"]["uid"]
    server.delete("gone", gracePeriodSeconds=0)
    server.until_gone("gone")
    assert status["containerID"] not in server.ctr("container", "ls", "-q")
    assert status["containerID"] not in server.ctr("snapshot", "ls")
    left = [p for p in (*server.run_dir.rglob("*"), *server.data_dir.rglob("*")) if uid in p.name and "logs" not in p.parts]
    assert not left
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if uid in line]


def test_each_has_its_own_namespace_with_loopback_unless_the_host_s(server: AgentServer) -> None:
    server.apply(
        container("alone", "ip -o addr; exec sleep 1000"), container("host", "ip -o addr; exec sleep 1000", hostNetwork=True)
    )
    alone, host = server.until_phase("alone", "Running"), server.until_phase("host", "Running")
    assert os.readlink(f"/proc/{alone['pid']}/ns/net") != os.readlink("/proc/self/ns/net")
    assert os.readlink(f"/proc/{host['pid']}/ns/net") == os.readlink("/proc/self/ns/net")
    eventually(lambda: "127.0.0.1" in server.logs("alone"), what="lo is up")
    assert {c["reason"] for c in alone["conditions"] if c["type"] == "NetworksReady"} == {"NoNetworkController"}
    assert "NetworksReady" not in {c["type"] for c in host["conditions"]}


def _limit(pid: int) -> int:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            return int(Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes").read_text())
        if not names and Path(f"/sys/fs/cgroup{path}/memory.max").exists():
            return int(Path(f"/sys/fs/cgroup{path}/memory.max").read_text())
    raise AssertionError("no memory controller")


def _state(server: AgentServer, id: str) -> str:
    rows = [line.split() for line in server.ctr("task", "ls").splitlines()]
    return next((row[2] for row in rows if row and row[0] == id), "")


def _shim(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])
