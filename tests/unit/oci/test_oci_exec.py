"""The process of an exec."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.container.oci import build, exec_process
from controllers.container.oci.capabilities import DEFAULT, KNOWN
from state.errors import Invalid


@pytest.fixture
def running(declare: Any) -> dict[str, Any]:
    """The document of a running container."""
    spec = {
        "workingDir": "/srv",
        "env": [{"name": "A", "value": "1"}],
        "ulimits": [{"name": "nofile", "soft": 9}],
        "securityContext": {"allowPrivilegeEscalation": False},
        "resources": {"linux": {"oomScoreAdj": 7}},
    }
    return build(declare(spec))


def test_it_is_like_the_containers_own(running: dict[str, Any], picture: Any) -> None:
    process = exec_process(running, picture(), command=["ls", "-l"])
    base = running["process"]
    assert process["args"] == ["ls", "-l"]
    for name in ("user", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges", "oomScoreAdj", "terminal"):
        assert process[name] == base[name], name


def test_it_differs_where_told(running: dict[str, Any], picture: Any) -> None:
    process = exec_process(
        running, picture(), command=["sh"], tty=True, user="web:video", cwd="/a/../b", env={"A": "2", "B": "3"}
    )
    env = dict(line.split("=", 1) for line in process["env"])
    assert (env["A"], env["B"], env["TERM"], env["HOME"]) == ("2", "3", "xterm", "/home/web")
    assert process["user"] == {"uid": 1000, "gid": 44, "umask": 0o022, "additionalGids": [44]}
    assert (process["cwd"], process["terminal"]) == ("/b", True)
    assert process["capabilities"]["effective"] == []
    assert set(process["capabilities"]["bounding"]) == DEFAULT


def test_root_in_a_container_of_another_user_gets_the_bounding_set(declare: Any, picture: Any) -> None:
    document = build(declare({"securityContext": {"user": "web"}}))
    assert set(exec_process(document, picture(), command=["id"], user="0")["capabilities"]["effective"]) == DEFAULT


def test_privileged_has_what_the_host_has(running: dict[str, Any], picture: Any, node: Any) -> None:
    process = exec_process(running, picture(), command=["id"], privileged=True)
    assert process["capabilities"]["effective"] == list(KNOWN)
    assert process["noNewPrivileges"] is False
    small = exec_process(running, picture(), command=["id"], privileged=True, host=node(capabilities=frozenset({"CAP_KILL"})))
    assert small["capabilities"]["bounding"] == ["CAP_KILL"]


def test_the_document_is_left_alone(running: dict[str, Any], picture: Any) -> None:
    before = repr(running)
    exec_process(running, picture(), command=["x"], tty=True, user="web", privileged=True, env={"Z": "1"})
    assert repr(running) == before


@pytest.mark.parametrize(
    ("over", "field"),
    [({"command": []}, "command"), ({"command": [""]}, "command"), ({"user": "ghost"}, "user"), ({"cwd": "rel"}, "workingDir")],
)
def test_wrong_wishes_are_named(running: dict[str, Any], picture: Any, over: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        exec_process(running, picture(), **({"command": ["x"]} | over))
    assert caught.value.causes[0].field == field
