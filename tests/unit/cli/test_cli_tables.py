"""What needs no agent: words, paths, templates, tables, Docker's flags."""

from __future__ import annotations

from typing import Any

import pytest

from setpoint.cli.app import prepare
from setpoint.cli.dockerflags import Flags, container, literal, name_for
from setpoint.cli.failures import Failed
from setpoint.cli.jsonpath import find, render
from setpoint.cli.naming import one_container, targets
from setpoint.cli.options import seconds
from setpoint.cli.printing import Table, age, named, paint, safe, size, yaml_text
from state.clock import moment
from state.errors import BadRequest

OBJ = {
    "metadata": {"name": "web", "annotations": {"a.b/c": "x"}},
    "status": {"phase": "Running", "n": 3, "on": True, "conditions": [
        {"type": "Ready", "status": "True"}, {"type": "Held", "status": "False"}]},
    "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "c", "n": 3}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.status.phase}", "Running"),
        (".status.phase", "Running"),
        ("{$.status.n}", "3"),
        ("{.status.on}", "true"),
        ("{.nothing.here}", ""),
        ("{.items[*].name}", "a b c"),
        ("{.items[0].name}{.items[-1].name}", "ac"),
        ("{.items[1:].name}", "b c"),
        ("{.items[:-1].name}", "a b"),
        ('{.status.conditions[?(@.type=="Ready")].status}', "True"),
        ("{.status.conditions[?(@.type!='Ready')].type}", "Held"),
        ("{.items[?(@.n>=2)].name}", "b c"),
        ("{.metadata.annotations.a\\.b/c}", "x"),
        ("{.metadata.annotations['a.b/c']}", "x"),
        ("name: {.metadata.name}!", "name: web!"),
        ('{range .items[*]}{.name}={.n}{"\\n"}{end}', "a=1\nb=2\nc=3\n"),
        ("{range .nothing[*]}x{.name}{end}.", "."),
        ("{range .items[*]}{range .x[*]}{end}{.name};{end}", "a;b;c;"),
        ("{.metadata.annotations}", '{"a.b/c":"x"}'),
    ],
)
def test_jsonpath(template: str, text: str) -> None:
    assert render(template, OBJ) == text


@pytest.mark.parametrize("template", ["{.a[}", "{.a[?(}", "x{end}"])
def test_what_is_no_jsonpath(template: str) -> None:
    with pytest.raises(BadRequest):
        render(template, OBJ)


def test_find_gives_values() -> None:
    assert find(OBJ, ".status.n") == [3]
    assert find(OBJ, "") == [OBJ]


@pytest.mark.parametrize(
    ("words", "alone", "meant"),
    [
        (["web"], False, ["Container/web"]),
        (["containers"], True, ["Container/"]),
        (["ctr", "a", "b", "a"], True, ["Container/a", "Container/b"]),
        (["secret/s", "cm/c"], True, ["Secret/s", "ConfigMap/c"]),
        (["container"], False, ["Container/container"]),
        (["node", "vm"], False, ["Node/vm"]),
        (["ctr,sec"], True, ["Container/", "Secret/"]),
        (["a", "b"], True, ["Container/a", "Container/b"]),
        (["Containers.setpoint.dev", "x"], True, ["Container/x"]),
        (["all"], True, ["Container/", "Image/", "Node/"]),
        ([], True, []),
    ],
)
def test_words_that_name(words: list[str], alone: bool, meant: list[str]) -> None:
    assert [f"{target.kind.kind}/{target.name}" for target in targets(words, kinds_alone=alone)] == meant


@pytest.mark.parametrize("words", [["a/b/c"], ["secret/"], ["secret/s", "b"], ["volumes"], ["ctr,x"], ["nokind/x"]])
def test_words_that_name_nothing(words: list[str]) -> None:
    with pytest.raises(Failed) as failed:
        targets(words, kinds_alone=True)
    assert failed.value.code == 2


def test_a_container_and_its_command() -> None:
    for words in (
        ["web", "ls", "-l"],
        ["web", "--", "ls", "-l"],
        ["container", "web", "ls", "-l"],
        ["ctr/web", "--", "ls", "-l"],
    ):
        target, command = one_container(words)
        assert (target.name, command) == ("web", ["ls", "-l"])


@pytest.mark.parametrize(
    ("argv", "prepared"),
    [
        ("get ctr --wait=true", "get ctr --wait"),
        ("delete x --wait=false --force=false", "delete x --no-wait"),
        ("get x -o=json", "get x -ojson"),
        ("exec web -it -u root -- sh -c x", "exec -it -u root web -- sh -c x"),
        ("exec -i web -- sh -- x", "exec -i web -- sh -- x"),
        ("exec web sh -c -- x", "exec web sh -c -- x"),
        ("run --rm busybox cmd --wait=false", "run --rm busybox cmd --wait=false"),
        ("agent --data-dir x", "agent --data-dir x"),
    ],
)
def test_spellings(argv: str, prepared: str) -> None:
    assert " ".join(prepare(argv.split())) == prepared


def test_global_options_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("SETPOINT_HOST", "")
    assert prepare(["--host", "unix:///a", "get", "x"]) == ["get", "x"]
    assert os.environ["SETPOINT_HOST"] == "unix:///a"
    assert prepare(["get", "x", "--host=unix:///b"]) == ["get", "x"]
    assert os.environ["SETPOINT_HOST"] == "unix:///b"
    for argv, code in ((["get", "--host"], 2), (["--kubeconfig", "x", "get"], 1)):
        with pytest.raises(Failed) as failed:
            prepare(argv)
        assert failed.value.code == code


@pytest.mark.parametrize(("text", "span"), [("30", 30), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("0", 0)])
def test_spans(text: str, span: float) -> None:
    assert seconds(text) == span


@pytest.mark.parametrize("text", ["", "x", "5 m", "5m3", "-1s"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(Failed):
        seconds(text)


def test_ages() -> None:
    now = moment("2026-01-02T00:00:00Z")
    assert age("2026-01-01T23:59:15.123456789Z", now) == "44s"
    assert age("2026-01-01T23:54:30Z", now) == "5m30s"
    assert age("2025-12-30T20:00:00Z", now) == "2d4h"
    assert age("2026-01-02T00:01:00Z", now) == "in 60s"
    assert age(None, now) == age("soon", now) == "-"


def test_texts() -> None:
    assert size(512) == "512 B"
    assert size(1.9 * 1024**2) == "1.9 MiB"
    assert safe("a\x1b[31mb") == "a\N{REPLACEMENT CHARACTER}[31mb"
    assert yaml_text({"b": "x\ny\n", "a": "1"}) == "b: |\n  x\n  y\na: '1'\n"
    assert named({"kind": "Container", "metadata": {"name": "a", "namespace": "prod"}}) == "container/prod/a"
    assert named({"kind": "Node", "metadata": {"name": "vm"}}) == "node/vm"
    assert paint("Running") == "Running"


def test_a_table_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(["Name", "Phase"])
    table.show([["a", "Running"], ["longer", None]])
    table.show([["b", "Exited"]])
    assert capsys.readouterr().out == "NAME     PHASE\na        Running\nlonger   -\nb        Exited\n"


RUN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"command": ["sh", "-c", "echo $(A) $$ $B"]}, {"args": ["sh", "-c", "echo $$(A) $$$ $B"]}),
    ({"entrypoint": "/bin/sh -x", "command": ["y"]}, {"command": ["/bin/sh", "-x"], "args": ["y"]}),
    ({"env": ["A=1", "B=", "A=2"]}, {"env": [{"name": "A", "value": "2"}, {"name": "B", "value": ""}]}),
    ({"rm": True}, {"autoRemove": True}),
    ({"restart": "on-failure:3"}, {"restartPolicy": "OnFailure", "restart": {"maxRetries": 3}}),
    ({"restart": "unless-stopped"}, {"restartPolicy": "UnlessStopped"}),
    ({"stop_timeout": 0, "stop_signal": "int"}, {"terminationGracePeriodSeconds": 0, "stopSignal": "SIGINT"}),
    ({"network": "host", "pid": "host", "ipc": "host"}, {"hostNetwork": True, "hostPID": True, "hostIPC": True}),
    ({"memory": "512m", "cpus": "1.5", "pids_limit": 9},
     {"resources": {"limits": {"memory": "512Mi", "cpu": "1.5", "pids": "9"}}}),
    ({"memory": "512Mi", "memory_swap": "-1", "cpuset": "0-1", "oom_score_adj": 0},
     {"resources": {"limits": {"memory": "512Mi"}, "linux": {"memorySwap": "-1", "cpuset": "0-1", "oomScoreAdj": 0}}}),
    ({"memory_reservation": "1g", "cpu_shares": 512}, {"resources": {"requests": {"memory": "1Gi", "cpu": "500m"}}}),
    ({"user": "0"}, {"securityContext": {"runAsUser": 0}}),
    ({"user": "1:2", "group_add": ["3"]}, {"securityContext": {"runAsUser": 1, "runAsGroup": 2, "supplementalGroups": [3]}}),
    ({"user": "www:web"}, {"securityContext": {"user": "www:web"}}),
    ({"cap_add": ["cap_net_admin,SYS_TIME"], "cap_drop": ["all"]},
     {"securityContext": {"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"], "drop": ["ALL"]}}}),
    ({"privileged": True, "read_only": True}, {"securityContext": {"privileged": True, "readOnlyRootFilesystem": True}}),
    ({"security_opt": ["no-new-privileges", "seccomp=unconfined"]},
     {"securityContext": {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "Unconfined"}}}),
    ({"volume": ["/a:/b:ro,rslave", "/c"]}, {
        "volumes": [{"name": "v1", "hostPath": {"path": "/a"}}, {"name": "v2", "emptyDir": {}}],
        "volumeMounts": [{"name": "v1", "mountPath": "/b", "readOnly": True, "mountPropagation": "HostToContainer"},
                         {"name": "v2", "mountPath": "/c"}]}),
    ({"tmpfs": ["/t:size=64m,mode=1777"]}, {
        "volumes": [{"name": "v1", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
        "volumeMounts": [{"name": "v1", "mountPath": "/t"}]}),
    ({"mount": ["type=bind,source=/a,target=/b,readonly"]}, {
        "volumes": [{"name": "v1", "hostPath": {"path": "/a"}}],
        "volumeMounts": [{"name": "v1", "mountPath": "/b", "readOnly": True}]}),
    ({"ulimit": ["nofile=1:2", "core=0"]},
     {"ulimits": [{"name": "nofile", "soft": 1, "hard": 2}, {"name": "core", "soft": 0}]}),
    ({"sysctl": ["net.core.somaxconn=9"]}, {"sysctls": [{"name": "net.core.somaxconn", "value": "9"}]}),
    ({"dns": ["1.1.1.1"], "add_host": ["a:1.2.3.4", "b=1.2.3.4"]},
     {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]},
      "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}),
    ({"log_opt": ["max-size=10m", "max-file=3"]}, {"logging": {"maxSize": "10Mi", "maxFiles": 3}}),
    ({"pull": "missing", "init": True, "tty": True, "interactive": True, "workdir": "/w", "hostname": "h", "shm_size": "1g"},
     {"imagePullPolicy": "IfNotPresent", "init": True, "tty": True, "stdin": True, "workingDir": "/w", "hostname": "h",
      "shmSize": "1Gi"}),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "spec"), RUN, ids=[" ".join(flags) for flags, _ in RUN])
def test_dockers_flags(flags: dict[str, Any], spec: dict[str, Any]) -> None:
    """And what they make is admitted."""
    from state.resources.admission import admit

    base = {"image": "busybox:1", "restartPolicy": "Never", "terminationGracePeriodSeconds": 10}
    made = container(Flags(image="busybox:1", name="web", **flags))
    assert made["spec"] == base | spec
    admit(made)


@pytest.mark.parametrize(
    ("flags", "told", "code"),
    [
        ({"volume": ["data:/x"]}, "named volume 'data' is not supported yet", 1),
        ({"volume": ["/a:/b:nocopy"]}, "'nocopy' is not supported yet", 1),
        ({"network": "mine"}, "--network mine is not supported yet", 1),
        ({"restart": "sometimes"}, "no, always, unless-stopped, on-failure", 2),
        ({"restart": "always:3"}, "only on-failure takes a number", 2),
        ({"memory": "much"}, "512m, 2g or 512Mi", 2),
        ({"ulimit": ["nofile"]}, "write NAME=VALUE", 2),
        ({"security_opt": ["apparmor=mine"]}, "not supported yet", 1),
        ({"mount": ["type=volume,source=a,target=/b"]}, "type=volume is not supported yet", 1),
        ({"mount": ["type=bind,source=/a"]}, "target=/PATH is missing", 2),
        ({"log_opt": ["mode=x"]}, "max-size and max-file", 1),
    ],
)
def test_flags_that_are_refused(flags: dict[str, Any], told: str, code: int) -> None:
    with pytest.raises(Failed) as failed:
        container(Flags(image="x", **flags))
    assert told in failed.value.lines[0]
    assert failed.value.code == code


def test_names_tell_of_the_image() -> None:
    assert name_for("docker.io/library/My_App:1.2", "abc") == "my-app-abc"
    assert name_for("r/x@sha256:1", "abc") == "x-abc"
    assert literal("$$(A)") == "$$$$(A)"
