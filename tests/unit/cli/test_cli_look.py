"""get, describe, why, events, wait, logs: against a real API server."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest

from setpoint.api.operations import Check, Orphan
from state.errors import Conflict
from state.objects import Key


def settle(backend: Any, cli: Any, *names: str) -> None:
    for name in names:
        assert cli("wait", name, "--for", "jsonpath={.status.phase}", "--timeout", "5s").code == 0


def test_get_as_a_table(backend: Any, cli: Any) -> None:
    backend.make("web")
    backend.make("database")
    settle(backend, cli, "web", "database")
    result = cli("get", "containers")
    head, *rows = result.out.splitlines()
    assert head == "NAME       READY   PHASE     RESTARTS   IMAGE       AGE"
    assert [row.split()[:5] for row in rows] == [
        ["database", "True", "Running", "0", "busybox:1"],
        ["web", "True", "Running", "0", "busybox:1"],
    ]
    assert "\x1b" not in result.out
    assert cli("get", "ctr", "web", "--no-headers").out.startswith("web   True")
    wide = cli("get", "ctr", "-o", "wide", "--show-labels").out.splitlines()
    assert wide[0].split() == [
        "NAME",
        "READY",
        "PHASE",
        "RESTARTS",
        "IMAGE",
        "NODE",
        "PID",
        "EXIT",
        "REASON",
        "WANTED",
        "AGE",
        "LABELS",
    ]
    assert wide[2].endswith("app=web")


@pytest.mark.parametrize(
    ("words", "out"),
    [
        pytest.param(["containers", "-o", "name"], "container/a\ncontainer/b\n", id="all of a kind"),
        pytest.param(["a", "-o", "name"], "container/a\n", id="bare name"),
        pytest.param(["container/b", "-o", "name"], "container/b\n", id="kind/name"),
        pytest.param(["ctr", "b", "a", "-o", "name"], "container/b\ncontainer/a\n", id="several"),
        pytest.param(["ctr", "-l", "app=b", "-o", "name"], "container/b\n", id="selector"),
        pytest.param(["ctr", "-A", "--field-selector", "metadata.name=a", "-o", "name"], "container/a\n", id="field selector"),
        pytest.param(["ctr", "--sort-by", "{.spec.priority}", "-o", "name"], "container/b\ncontainer/a\n", id="sorted"),
        pytest.param(["a", "-o", "jsonpath={.spec.image}"], "busybox:1", id="jsonpath"),
        pytest.param(["ctr", "-o", "jsonpath={.items[*].metadata.name}"], "a b", id="jsonpath of a list"),
    ],
)
def test_what_get_shows(backend: Any, cli: Any, words: list[str], out: str) -> None:
    backend.make("a", priority=2)
    backend.make("b", priority=1)
    assert cli("get", *words).out == out


def test_get_json_and_yaml_leave_out_managed_fields(backend: Any, cli: Any) -> None:
    backend.make("a")
    one = json.loads(cli("get", "a", "-o", "json").out)
    assert one["metadata"]["name"] == "a"
    assert "managedFields" not in one["metadata"]
    assert "managedFields" in cli("get", "a", "-o", "yaml", "--show-managed-fields").out
    assert json.loads(cli("get", "ctr", "-o=json").out)["kind"] == "List"
    assert cli("get", "a", "-o", "xml").code == 2


def test_nothing_found(backend: Any, cli: Any) -> None:
    result = cli("get", "secrets")
    assert (result.code, result.out, result.err) == (0, "", "no secrets found in namespace default\n")
    backend.make("web")
    assert cli("get", "wep").err == "error: there is no container 'wep' in namespace default; did you mean web?\n"
    assert "there is one in default: add -n default" in cli("get", "web", "-n", "prod").err
    assert cli("get", "secret", "x", "--ignore-not-found", "-o", "yaml").code == 0
    result = cli("get", "contaners")
    assert result.code == 1
    result = cli("get", "volumes")
    assert (result.code, result.err) == (2, "error: the kind 'volumes' is not supported yet\n")


def test_the_beginning_of_an_id_is_a_name(backend: Any, cli: Any) -> None:
    uid = backend.make("web")["metadata"]["uid"]
    settle(backend, cli, "web")
    assert cli("get", uid.replace("-", "")[:10], "-o", "name").out == "container/web\n"
    assert cli("why", uid[:8], "-o", "json").code == 0
    backend.agent.acting = False
    a, b = backend.make("a"), backend.make("b")
    for obj in (a, b):
        backend.status(obj["metadata"]["name"], {"phase": "Running", "containerID": "feedface" + obj["metadata"]["name"] * 24})
    result = cli("get", "feedface")
    assert (result.code, result.err) == (2, "error: 'feedface' is the beginning of 2 ids (a, b): give more of it\n")


def test_get_all(backend: Any, cli: Any) -> None:
    backend.make("web")
    assert "container/web" in cli("get", "all").out
    assert cli("get", "ctr,cm", "-o", "name").out == "container/web\n"


def test_secrets_are_redacted_and_a_reveal_leaves_an_event(backend: Any, cli: Any) -> None:
    cli("create", "secret", "generic", "s", "--from-literal=k=hunter2")
    shown = base64.b64encode(b"hunter2").decode()
    for verb in (["get", "secret", "s", "-o", "yaml"], ["get", "secret", "-o", "json"], ["describe", "secret", "s"]):
        result = cli(*verb)
        assert shown not in result.out
        assert "<redacted: 7 bytes>" in result.out
    assert cli("events").err == "no events found\n"
    assert cli("get", "secret", "s", "--reveal", "-o", "jsonpath={.data.k}").out == shown
    events = cli("events", "--for", "secret/s").out
    assert "Revealed" in events
    assert "uid 0" in events or "uid" in events


def test_watch_shows_changes(backend: Any, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.agent.acting = False
    backend.make("web")

    def change() -> None:
        backend.status("web", backend.status_of("Running"))
        backend.do(backend.store.patch(Key("Container", "default", "web"), {"spec": {"priority": 3}}, manager="x"))

    from setpoint.cli import look

    real = look.changes

    def two(*words: Any, **how: Any) -> Any:
        threading.Thread(target=change).start()
        stream = real(*words, **how)
        for _ in range(2):
            yield next(stream)
        raise KeyboardInterrupt

    monkeypatch.setattr(look, "changes", two)
    result = cli("get", "ctr", "-w")
    assert result.code == 130
    assert [line.split()[:3] for line in result.out.splitlines()] == [
        ["NAME", "READY", "PHASE"],
        ["web", "-", "-"],
        ["web", "True", "Running"],
        ["web", "True", "Running"],
    ]


def test_describe(backend: Any, cli: Any) -> None:
    backend.make("web", args=["sleep", "1"])
    settle(backend, cli, "web")
    out = cli("describe", "web").out
    for part in ("Name:                 web\n", "Labels:               app=web\n", "  args:\n  - sleep\n", "Conditions:\n",
                 "  Ready   True", "Events:               <none>\n"):  # fmt: skip
        assert part in out


def test_why_shows_the_document(backend: Any, cli: Any) -> None:
    backend.make("web")
    assert json.loads(cli("why", "web", "-o", "json").out) == {"key": "Container/default/web", "next": "nothing"}
    assert cli("why").code == 2


@pytest.mark.parametrize(
    ("status", "for_", "code", "told"),
    [
        pytest.param(("Running",), "condition=Ready", 0, "container/web condition met\n", id="ready"),
        pytest.param(("Running",), "phase=Running", 0, "container/web condition met\n", id="phase"),
        pytest.param(("Running",), "jsonpath={.status.phase}=Running", 0, "container/web condition met\n", id="jsonpath"),
        pytest.param(("Exited", "Completed"), "condition=Ready", 1, "it has run to its end (exit code 3)", id="ended"),
        pytest.param(("Exited", "Completed"), "phase=Running", 1, "cannot come true any more", id="never runs again"),
        pytest.param(("Exited", "Completed"), "phase=Exited", 0, "condition met", id="the end"),
        pytest.param(
            ("Exited", "Quarantined", "3 crashes"), "condition=Ready", 1, "setpoint retry releases it", id="quarantine"
        ),
        pytest.param(("Exited", "Stopped"), "phase=Running", 1, "setpoint start runs it", id="stopped"),
        pytest.param(("Pending", "ImageMissing", "no busybox:1"), "condition=Ready", 124, "no busybox:1", id="time is up"),
        pytest.param(("Running",), "delete", 124, "it is Running", id="not deleted"),
        pytest.param(("Running",), "create", 0, "condition met", id="there"),
        pytest.param(("Running",), "nonsense", 2, "is not understood", id="wrong use"),
    ],
)
def test_wait(backend: Any, cli: Any, status: tuple[str, ...], for_: str, code: int, told: str) -> None:
    backend.agent.acting = False
    backend.make("web")
    backend.status("web", {**backend.status_of(*status), "exitCode": 3})
    result = cli("wait", "web", "--for", for_, "--timeout", "300ms")
    assert result.code == code
    assert told in result.out + result.err


def test_a_restart_asked_for_after_the_end_is_waited_for(backend: Any, cli: Any) -> None:
    backend.agent.acting = False
    backend.make("web")
    backend.status("web", {**backend.status_of("Exited", "Completed"), "exitCode": 0, "finishedAt": "2026-01-01T00:00:00.5Z"})
    cli("start", "web")
    assert cli("wait", "web", "--timeout", "300ms").code == 124


def test_wait_for_the_end_of_what_is_gone(backend: Any, cli: Any) -> None:
    assert cli("wait", "web", "--for=delete", "--timeout=1s").out == "container/web deleted\n"
    assert cli("wait", "web", "--timeout=1s").code == 1


def test_logs(backend: Any, cli: Any) -> None:
    backend.make("web")
    backend.make("db")
    backend.operations.containers.lines = [b"one\n", b"two\n"]
    assert cli("logs", "web").out == "one\ntwo\n"
    assert cli("logs", "web", "db").out == "[web] one\n[web] two\n[db] one\n[db] two\n"
    assert cli("logs", "-l", "app=db", "--prefix", "--tail", "5", "--since", "10m", "-t", "-p").out == "[db] one\n[db] two\n"
    asked = backend.operations.containers.log_requests[-1]
    assert (asked.tail_lines, asked.since_seconds, asked.timestamps, asked.previous) == (5, 600, True, True)
    cli("logs", "web", "--since", "2026-01-31T12:00:00Z")
    assert backend.operations.containers.log_requests[-1].since_time == "2026-01-31T12:00:00Z"
    assert cli("logs", "web", "--since", "yesterday").code == 2
    assert cli("logs", "-l", "app=none").code == 1


def test_following_a_log_ends_with_the_container(backend: Any, cli: Any) -> None:
    backend.agent.scripted["job"] = backend.status_of("Exited", "Completed", exitCode=0)
    backend.make("job")
    backend.operations.containers.lines = [b"done\n"]
    result = cli("logs", "-f", "job")
    assert (result.code, result.out) == (0, "done\n")
    backend.operations.containers.failure = Conflict("no log")
    assert cli("logs", "-f", "job").err == "error: no log\n"


def test_events(backend: Any, cli: Any) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Container", "name": "web", "namespace": "default"},
        "reason": "Started",
        "message": "started\x1b[31m revision 1",
        "type": "Normal",
        "count": 3,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    backend.do(backend.store.create(event, manager="x"))
    lines = cli("events", "--for", "web").out.splitlines()
    assert lines[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert lines[1].split()[1:] == [
        "Normal",
        "Started",
        "container/web",
        "started\N{REPLACEMENT CHARACTER}[31m",
        "revision",
        "1",
        "(x3)",
    ]
    assert cli("events", "--for", "other").err == "no events found\n"


def test_info_doctor_version(backend: Any, cli: Any) -> None:
    assert "name:" in cli("info").out
    assert cli("doctor").code == 0
    assert cli("version").out.startswith("setpoint ")

    async def lacking() -> list[Check]:
        return [Check("overlayfs", False, "none", "overlay in /proc/filesystems")]

    backend.operations.node.doctor = lacking
    result = cli("doctor")
    assert result.code == 1
    assert result.out.splitlines()[1].split() == ["error", "overlayfs", "none", "overlay", "in", "/proc/filesystems"]


def test_images(backend: Any, cli: Any, write: Any) -> None:
    assert cli("image", "ls").err == "the node holds no images\n"
    assert cli("image", "load", write("tar", "x.tar")).out == "loaded loaded:latest\n"
    assert cli("images").out.splitlines()[1].split()[:2] == ["loaded:latest", "0" * 12]
    assert cli("image", "pull", "a:1").out == f"pulled a:1 sha256:{'1' * 64}\n"
    backend.operations.images.pull_failure = Conflict("the registry says no")
    result = cli("pull", "a:1")
    assert (result.code, result.err.splitlines()[-1]) == (1, "error: the registry says no")
    assert cli("image", "rm", "loaded:latest", "b").out == "loaded:latest removed\n"
    assert cli("image", "push", "a").err == "error: image push is not supported yet\n"


def test_orphans(backend: Any, cli: Any) -> None:
    assert cli("orphans", "ls").err == "no orphans\n"
    for name in ("a", "b"):
        backend.operations.orphans.rows[name] = Orphan(name, "u", "default", f"was-{name}", "running", 7, "i")
    assert cli("orphans", "ls").out.splitlines()[1].split()[:4] == ["a", "default/was-a", "running", "7"]
    assert cli("orphans", "adopt", "a").out == "a adopted as container/was-a in namespace default\n"
    result = cli("orphans", "rm", "b", "c")
    assert (result.code, result.out, result.err) == (1, "b removed\n", "error: no orphan c\n")
