"""start, stop and their like, exec, attach, run: against a real API server."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from setpoint.testing.fake_operations import FakeSession
from state.errors import Conflict
from state.objects import Key


def managers(obj: Any) -> set[str]:
    return {entry["manager"] for entry in obj["metadata"]["managedFields"]}


def test_stop_declares_it_and_start_releases_it(backend: Any, cli: Any, write: Any) -> None:
    cli("apply", "-f", write("{apiVersion: setpoint.dev/v1alpha1, kind: Container, metadata: {name: web}, spec: {image: a}}"))
    assert cli("stop", "web", "-t", "3").out == "container/web stopped\n"
    obj = backend.get("web")
    assert obj["spec"]["runState"] == "Stopped"
    assert obj["metadata"]["annotations"] == {"setpoint.dev/stop-options": '{"gracePeriodSeconds": 3}'}
    assert cli("start", "web", "--wait").out == "container/web started\n"
    obj = backend.get("web")
    assert obj["spec"]["runState"] == "Running"
    assert not obj["metadata"].get("annotations")
    assert "setpoint-run-state" not in managers(obj)


def test_start_runs_again_what_has_ended(backend: Any, cli: Any) -> None:
    backend.agent.scripted["job"] = backend.status_of("Exited", "Completed")
    backend.make("job", restartPolicy="Never")
    cli("wait", "job", "--for=phase=Exited")
    assert cli("start", "job").code == 0
    assert "setpoint.dev/restartedAt" in backend.get("job")["metadata"]["annotations"]


def test_pause_and_resume(backend: Any, cli: Any) -> None:
    backend.make("web")
    assert cli("pause", "web").out == "container/web paused\n"
    assert backend.get("web")["spec"]["runState"] == "Paused"
    assert cli("resume", "web").out == "container/web resumed\n"
    assert backend.get("web")["spec"]["runState"] == "Running"
    cli("stop", "web")
    result = cli("resume", "web")
    assert (result.code, result.out) == (1, "")
    assert "is declared Stopped, not Paused" in result.err


def test_restart_retry_hold_unhold(backend: Any, cli: Any) -> None:
    backend.make("web", runState="Stopped")
    assert cli("restart", "web").out == "container/web restarted\n"
    assert cli("retry", "web").out == "container/web retried\n"
    assert cli("hold", "web").out == "container/web held\n"
    obj = backend.get("web")
    notes = obj["metadata"]["annotations"]
    assert obj["spec"]["runState"] == "Running"
    assert {"setpoint.dev/restartedAt", "setpoint.dev/retriedAt"} < set(notes)
    assert notes["setpoint.dev/hold"] == "true"
    assert {"setpoint-restart", "setpoint-hold"} < managers(obj)
    assert "is held (true): nothing happens before setpoint unhold" in cli("pause", "web").err
    assert cli("unhold", "web").out == "container/web released\n"
    assert "setpoint.dev/hold" not in backend.get("web")["metadata"]["annotations"]


def test_kill_sends_the_signal(backend: Any, cli: Any) -> None:
    backend.make("web")
    assert cli("kill", "web").out == "container/web killed\n"
    assert cli("kill", "-s", "HUP", "web").out == "container/web signalled\n"
    assert [signal for _, signal in backend.operations.containers.killed] == [9, 1]
    backend.operations.containers.failure = Conflict("container web does not run: it is Exited")
    result = cli("kill", "web")
    assert (result.code, result.err) == (1, "error: container web does not run: it is Exited\n")


def test_one_that_refuses_does_not_keep_the_others(backend: Any, cli: Any) -> None:
    backend.make("a", runState="Stopped")
    backend.make("b", runState="Paused")
    result = cli("resume", "-l", "app in (a, b)")
    assert (result.code, result.out) == (1, "container/b resumed\n")
    assert cli("stop").err == "error: name at least one container, or select some with -l\n"
    assert cli("stop", "secret/x").code == 2


@pytest.mark.parametrize(
    ("words", "command"),
    [
        pytest.param(["web", "--", "ls", "-l"], ("ls", "-l"), id="with --"),
        pytest.param(["web", "ls", "-l"], ("ls", "-l"), id="without --"),
        pytest.param(["container", "web", "ls"], ("ls",), id="kind and name"),
        pytest.param(["container/web", "--", "ls"], ("ls",), id="kind/name"),
        pytest.param(["-u", "root", "web", "ls"], ("ls",), id="options first"),
        pytest.param(["web", "-u", "root", "--", "ls"], ("ls",), id="options behind the name"),
        pytest.param(["web", "sh", "-c", "x -- y"], ("sh", "-c", "x -- y"), id="the command's own options"),
        pytest.param(["web", "echo", "--host", "a"], ("echo", "--host", "a"), id="the command's own --host"),
    ],
)
def test_words_of_exec(backend: Any, cli: Any, words: list[str], command: tuple[str, ...]) -> None:
    backend.make("web")
    backend.operations.containers.sessions.append(FakeSession([("stdout", b"out\n"), ("stderr", b"err\n")], code=7))
    result = cli("exec", *words)
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")
    (_, request) = backend.operations.containers.execs[-1]
    assert request.command == command
    assert request.user == ("root" if "-u" in words else "")


def test_exec_passes_stdin_env_and_folder(backend: Any, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.make("web")
    monkeypatch.setenv("HERE", "x")
    backend.operations.containers.sessions.append(FakeSession(echo=True))
    result = cli("exec", "-i", "-e", "A=1", "-e", "HERE", "-w", "/tmp", "web", "cat", stdin="hello")
    assert (result.code, result.out) == (0, "hello")
    (_, request) = backend.operations.containers.execs[-1]
    assert (request.env, request.working_dir, request.stdin, request.tty) == (("A=1", "HERE=x"), "/tmp", True, False)
    assert cli("exec", "-d", "web", "sleep", "1").out == "4711\n"
    assert cli("exec", "web").code == 2
    assert cli("exec", "nope", "ls").code == 1


def test_a_terminal_is_left_out_where_there_is_none(backend: Any, cli: Any) -> None:
    backend.make("web")
    backend.operations.containers.sessions.append(FakeSession())
    result = cli("exec", "-it", "web", "sh")
    assert result.err == "stdin is no terminal: -t is left out\n"
    assert backend.operations.containers.execs[-1][1].tty is False


def test_attach(backend: Any, cli: Any) -> None:
    backend.make("web", stdin=True)
    backend.operations.containers.sessions.append(FakeSession(echo=True, code=4))
    result = cli("attach", "web", stdin="hello")
    assert (result.code, result.out) == (4, "hello")


def test_run_in_the_background(backend: Any, cli: Any) -> None:
    assert cli("run", "-d", "--name", "web", "busybox:1", "sleep", "9").out == "web\n"
    obj = backend.get("web")
    assert obj["spec"]["args"] == ["sleep", "9"]
    assert obj["spec"]["restartPolicy"] == "Never"
    assert obj["spec"]["terminationGracePeriodSeconds"] == 10
    assert cli("run", "-d", "--name", "web", "busybox:1").code == 1
    name = cli("run", "-d", "docker.io/library/busybox:1").out.strip()
    assert name.startswith("busybox-")


def test_a_file_takes_over_what_run_made(backend: Any, cli: Any, write: Any) -> None:
    cli("run", "-d", "--name", "web", "busybox:1", "sleep", "9")
    file = write("{apiVersion: setpoint.dev/v1alpha1, kind: Container, metadata: {name: web}, spec: {image: 'busybox:2'}}")
    result = cli("apply", "-f", file)
    assert result.out == "container/web configured\n"
    assert "spec.image was held by setpoint-run" in result.err


def test_run_in_the_foreground_has_the_code_of_the_process(backend: Any, cli: Any) -> None:
    backend.operations.containers.sessions.append(FakeSession([("stdout", b"out\n"), ("stderr", b"err\n")], code=5))
    result = cli("run", "busybox:1", "x")
    assert (result.code, result.out, result.err) == (5, "out\n", "err\n")


def test_run_of_what_never_could_start(backend: Any, cli: Any) -> None:
    last = {"exitCode": 127, "reason": "StartError", "message": 'exec: "nope": not found'}
    backend.agent.scripted["web"] = {"phase": "Exited", "exitCode": 127, "lastExit": last}
    backend.operations.containers.sessions.append(FakeSession(code=127))
    result = cli("run", "--name", "web", "busybox:1", "nope")
    assert (result.code, result.err) == (127, 'web: exec: "nope": not found\n')


def test_a_code_that_the_session_does_not_know_comes_from_the_record(backend: Any, cli: Any) -> None:
    backend.agent.scripted["web"] = {"phase": "Exited", "lastExit": {"exitCode": 3, "reason": "Error"}}
    backend.operations.containers.sessions.append(FakeSession(code=-1))
    assert cli("run", "--rm", "--name", "web", "busybox:1").code == 3


def test_run_joins_before_it_lets_go(backend: Any, cli: Any) -> None:
    backend.operations.containers.sessions.append(FakeSession())
    assert cli("run", "--name", "web", "--annotation", "a.b/c=d", "busybox:1").code == 0
    (_, request) = backend.operations.containers.attaches[-1]
    assert request.wait
    obj = backend.get("web")
    assert obj["metadata"]["annotations"] == {"a.b/c": "d"}


def test_run_tells_what_a_start_waits_for(backend: Any, cli: Any) -> None:
    waiting = {"type": "Waiting", "status": "True", "reason": "ImageMissing", "message": "no such image"}
    backend.agent.scripted["web"] = {"phase": "Pending", "conditions": [waiting]}
    session = FakeSession(echo=True)
    backend.operations.containers.sessions.append(session)
    timer = threading.Timer(0.5, lambda: backend.do(session.close_stdin()))
    timer.start()
    try:
        result = cli("run", "--name", "web", "busybox:1")
    finally:
        timer.join()
    assert (result.code, result.err) == (0, "web: ImageMissing: no such image\n")


def test_run_ends_when_the_object_goes_before_it_ran(backend: Any, cli: Any) -> None:
    backend.agent.scripted["web"] = {"phase": "Pending"}
    backend.operations.containers.sessions.append(FakeSession(echo=True))
    timer = threading.Timer(0.5, lambda: backend.do(backend.store.delete(Key("Container", "default", "web"))))
    timer.start()
    try:
        result = cli("run", "--name", "web", "busybox:1")
    finally:
        timer.join()
    assert result.code in (1, 130)


def test_docker_words_tell_the_native_form(backend: Any, cli: Any) -> None:
    backend.make("web")
    cli("wait", "web")
    result = cli("ps")
    assert result.err == "this is: setpoint get containers --field-selector status.phase=Running\n"
    assert "web" in result.out
    assert cli("inspect", "web").err == "this is: setpoint get container web -o json\n"
    assert cli("rm", "-f", "web").out == "container/web deleted\n"
    assert cli("network", "ls").err == "error: the kind Network (it will be: setpoint get networks) is not supported yet\n"
    assert cli("build", "-t", "x", ".").code == 1
    assert cli("volume", "ls").code == 1


def test_reset_asks_for_the_nodes_name(backend: Any, cli: Any) -> None:
    backend.make("web")
    assert cli("reset").code == 2
    assert cli("reset", "--confirm", "other").code == 1
    import os

    result = cli("reset", "--confirm", os.uname().nodename)
    assert "container/web deleted\n" in result.out
    assert backend.get("web") is None
