"""Command, arguments, directory, environment: declaration against image."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.container.oci import build
from controllers.container.oci.environment import DEFAULT_PATH, expand
from state.errors import Invalid, NotFound

IMAGE = {
    "Entrypoint": ["/entry", "-x"],
    "Cmd": ["cmd"],
    "WorkingDir": "srv/",
    "Env": ["PATH=/app", "A=image", "A=again", "=no", "E="],
}


@pytest.mark.parametrize(
    ("spec", "config", "args"),
    [
        pytest.param({}, IMAGE, ["/entry", "-x", "cmd"], id="neither"),
        pytest.param({"args": ["a"]}, IMAGE, ["/entry", "-x", "a"], id="args replace Cmd"),
        pytest.param({"command": ["c"]}, IMAGE, ["c"], id="command replaces both"),
        pytest.param({"command": ["c"], "args": ["a"]}, IMAGE, ["c", "a"], id="both"),
        pytest.param({"command": [], "args": []}, IMAGE, ["/entry", "-x", "cmd"], id="empty is absent"),
        pytest.param({"args": ["only"]}, {}, ["only"], id="no entrypoint"),
        pytest.param({}, {"Cmd": ["$(A)"]}, ["$(A)"], id="the image's words are not expanded"),
    ],
)
def test_arguments(declare: Any, picture: Any, spec: dict[str, Any], config: dict[str, Any], args: list[str]) -> None:
    assert build(declare(spec, image=picture(config)))["process"]["args"] == args


@pytest.mark.parametrize("config", [{}, {"Cmd": None}, {"Entrypoint": [""]}], ids=["nothing", "null", "empty word"])
def test_nothing_to_run_is_named(declare: Any, picture: Any, config: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="neither ENTRYPOINT nor CMD") as caught:
        build(declare({}, image=picture(config)))
    assert caught.value.causes[0].field == "spec.command"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("-$(A)$(B)-", "-1two-"),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$", "$$"),
        ("$", "$"),
        ("a$", "a$"),
        ("$(A", "$(A"),
        ("$A ${A}", "$A ${A}"),
        ("$()", "$()"),
        ("$($(A))", "$(1)"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text, {"A": "1", "B": "two"}) == result


def env_of(document: dict[str, Any]) -> dict[str, str]:
    lines = document["process"]["env"]
    pairs = dict(line.split("=", 1) for line in lines)
    assert len(pairs) == len(lines), "a name twice"
    return pairs


def test_environment_layers(declare: Any, picture: Any) -> None:
    spec = {
        "envFrom": [{"configMapRef": {"name": "cm"}}, {"prefix": "S_", "secretRef": {"name": "sec"}}],
        "env": [
            {"name": "A", "value": "own"},
            {"name": "EMPTY"},
            {"name": "LATER", "value": "$(A) $(X) $(PATH) $(AFTER)"},
            {"name": "AFTER", "value": "z"},
        ],
    }
    maps = {"cm": {"A": b"map", "X": b"x", "bad=name": b"skipped"}}
    env = env_of(build(declare(spec, image=picture(IMAGE), config_maps=maps, secrets={"sec": {"P": b"\xff"}})))
    assert env == {
        "PATH": "/app",
        "HOSTNAME": "web",
        "A": "own",
        "E": "",
        "X": "x",
        "S_P": "\ufffd",
        "EMPTY": "",
        "LATER": "own x $(PATH) $(AFTER)",
        "AFTER": "z",
        "HOME": "/root",
    }


@pytest.mark.parametrize(
    ("spec", "config", "expected"),
    [
        pytest.param({}, {"Cmd": ["x"]}, {"PATH": DEFAULT_PATH, "HOSTNAME": "web", "HOME": "/root"}, id="defaults"),
        pytest.param({"tty": True}, {"Cmd": ["x"]}, {"TERM": "xterm"}, id="terminal"),
        pytest.param({"tty": True}, {"Cmd": ["x"], "Env": ["TERM=vt100"]}, {"TERM": "vt100"}, id="the image's TERM stays"),
        pytest.param({"hostname": "box"}, {"Cmd": ["x"]}, {"HOSTNAME": "box"}, id="hostname"),
        pytest.param({"hostNetwork": True}, {"Cmd": ["x"]}, {"HOSTNAME": "node-a"}, id="host's name"),
        pytest.param({"securityContext": {"user": "web"}}, {"Cmd": ["x"]}, {"HOME": "/home/web"}, id="home of the user"),
        pytest.param({"securityContext": {"runAsUser": 4711}}, {"Cmd": ["x"]}, {"HOME": "/"}, id="home of nobody known"),
        pytest.param({"env": [{"name": "HOME", "value": "/h"}]}, {"Cmd": ["x"]}, {"HOME": "/h"}, id="declared home"),
    ],
)
def test_environment_defaults(
    declare: Any, picture: Any, spec: dict[str, Any], config: dict[str, Any], expected: dict[str, str]
) -> None:
    env = env_of(build(declare(spec, image=picture(config))))
    assert expected.items() <= env.items()
    assert ("TERM" in env) == bool(spec.get("tty"))


def ref(kind: str, name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"env": [{"name": "V", "valueFrom": {kind: {"name": name, "key": key, **more}}}]}


@pytest.mark.parametrize(
    ("spec", "kind", "name", "field"),
    [
        (ref("configMapKeyRef", "none", "k"), "ConfigMap", "none", "spec.env[0].valueFrom.configMapKeyRef.name"),
        (ref("configMapKeyRef", "cm", "none"), "ConfigMap", "cm/none", "spec.env[0].valueFrom.configMapKeyRef.key"),
        (ref("secretKeyRef", "sec", "none"), "Secret", "sec/none", "spec.env[0].valueFrom.secretKeyRef.key"),
        ({"envFrom": [{"secretRef": {"name": "gone"}}]}, "Secret", "gone", "spec.envFrom[0].secretRef.name"),
    ],
)
def test_a_missing_reference_is_awaited_by_name(declare: Any, spec: dict[str, Any], kind: str, name: str, field: str) -> None:
    with pytest.raises(NotFound) as caught:
        build(declare(spec, config_maps={"cm": {"k": b"v"}}, secrets={"sec": {}}))
    assert (caught.value.kind, caught.value.name, caught.value.causes[0].field) == (kind, name, field)


@pytest.mark.parametrize(
    "spec",
    [
        ref("configMapKeyRef", "none", "k", optional=True),
        ref("secretKeyRef", "sec", "none", optional=True),
        {"envFrom": [{"configMapRef": {"name": "none", "optional": True}}]},
    ],
)
def test_an_optional_reference_to_nothing_sets_nothing(declare: Any, spec: dict[str, Any]) -> None:
    assert "V" not in env_of(build(declare(spec, secrets={"sec": {}})))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "web"),
        ({"fieldRef": {"fieldPath": "metadata.namespace"}}, "default"),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "node-a"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "demo"),
        ({"fieldRef": {"fieldPath": "metadata.annotations['none']"}}, ""),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "2"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "64"),
        ({"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}, "250"),
    ],
)
def test_downward_values(declare: Any, source: dict[str, Any], value: str) -> None:
    spec = {
        "env": [{"name": "V", "valueFrom": source}],
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}},
    }
    assert env_of(build(declare(spec, labels={"app": "demo"})))["V"] == value


@pytest.mark.parametrize(
    "source", [{"fieldRef": {"fieldPath": "status.podIP"}}, {"resourceFieldRef": {"resource": "cpu"}}, {"other": {}}]
)
def test_unknown_sources_are_refused(declare: Any, source: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        build(declare({"env": [{"name": "V", "valueFrom": source}]}))
    assert caught.value.causes[0].field.startswith("spec.env[0].valueFrom")


@pytest.mark.parametrize(
    ("declared", "of_image", "cwd"),
    [(None, None, "/"), (None, "/srv/", "/srv"), (None, "srv", "/srv"), ("/a//b/.", "/srv", "/a/b")],
)
def test_working_directory(declare: Any, picture: Any, declared: str | None, of_image: str | None, cwd: str) -> None:
    spec = {"workingDir": declared} if declared else {}
    document = build(declare(spec, image=picture({"Cmd": ["x"], "WorkingDir": of_image})))
    assert document["process"]["cwd"] == cwd


def test_a_relative_working_directory_is_refused(declare: Any) -> None:
    with pytest.raises(Invalid, match="not absolute"):
        build(declare({"workingDir": "srv"}))


def test_init_goes_before_the_command_and_is_mounted(declare: Any, node: Any) -> None:
    document = build(declare({"init": True, "command": ["-odd"]}, host=node(init_path="/usr/bin/tini")))
    assert document["process"]["args"] == ["/sbin/setpoint-init", "--", "-odd"]
    mount = next(m for m in document["mounts"] if m["destination"] == "/sbin/setpoint-init")
    assert (mount["source"], mount["options"]) == ("/usr/bin/tini", ["rbind", "rprivate", "ro"])


def test_init_without_one_on_the_host_is_awaited(declare: Any) -> None:
    with pytest.raises(NotFound) as caught:
        build(declare({"init": True}))
    assert (caught.value.kind, caught.value.causes[0].field) == ("HostProgram", "spec.init")


def test_no_new_privileges_terminal_and_oom_score(declare: Any) -> None:
    plain = build(declare())["process"]
    assert (plain["noNewPrivileges"], plain["terminal"], plain["oomScoreAdj"]) == (False, False, 0)
    spec = {"tty": True, "securityContext": {"allowPrivilegeEscalation": False}, "resources": {"linux": {"oomScoreAdj": -5}}}
    process = build(declare(spec))["process"]
    assert (process["noNewPrivileges"], process["terminal"], process["oomScoreAdj"]) == (True, True, -5)
