"""apply, plan, diff, delete, create, label: against a real API server."""

from __future__ import annotations

import base64
from typing import Any

import pytest

WEB = """\
apiVersion: setpoint.dev/v1alpha1
kind: Container
metadata: {name: web}
spec: {image: "busybox:1"}
"""
CONF = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {a: "1"}
"""


def test_apply_says_per_object_what_happened(backend: Any, cli: Any, write: Any) -> None:
    file = write(WEB + "---\n" + CONF)
    assert cli("apply", "-f", file).out == "container/web created\nconfigmap/conf created\n"
    assert cli("apply", "-f", file).out == "container/web unchanged\nconfigmap/conf unchanged\n"
    write(WEB.replace("busybox:1", "busybox:2") + "---\n" + CONF)
    assert cli("apply", "-f", file).out == "container/web configured\nconfigmap/conf unchanged\n"


def test_apply_reads_folders_and_stdin(backend: Any, cli: Any, write: Any, tmp_path: Any) -> None:
    write(WEB, "d/a.yaml")
    write(CONF, "d/deep/b.yml")
    write("no object", "d/readme.txt")
    assert cli("apply", "-f", str(tmp_path / "d")).out == "container/web created\n"
    assert cli("apply", "-R", "-f", str(tmp_path / "d")).out == "container/web unchanged\nconfigmap/conf created\n"
    assert cli("apply", "-f", "-", stdin=WEB.replace("web", "other")).out == "container/other created\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(WEB.replace("image:", "imaeg: 1, image:"), "Container web: spec.imaeg: ", id="unknown field"),
        pytest.param(WEB.replace("name: web", "name: my_app"), 'such as "my-app"', id="name"),
        pytest.param(WEB.replace("{image", "{restart: always, image"), "spec.restart: ", id="docker's word"),
        pytest.param(WEB + "---\nkind: [", "file.yaml:7: ", id="YAML with its line"),
        pytest.param("services: {a: {image: b}}", "compose file", id="compose"),
        pytest.param(WEB.replace("name: web", "name: web, namespace: far"), "--create-namespace", id="namespace"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_path(backend: Any, cli: Any, write: Any, text: str, told: str) -> None:
    result = cli("apply", "-f", write(text))
    assert result.code == 1
    assert told in result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert result.err.startswith("error: ")
    assert backend.get("web") is None


def test_every_problem_of_every_object_has_a_line_and_nothing_is_stored(backend: Any, cli: Any, write: Any) -> None:
    bad = WEB.replace("image:", "memLimit: 1, tty: maybe, image:")
    result = cli("apply", "-f", write(CONF + "---\n" + bad + "---\n" + bad.replace("web", "two")))
    assert result.code == 1
    assert len(result.err.splitlines()) == 4, result.err
    assert "web: spec.memLimit" in result.err
    assert "two: spec.tty" in result.err
    assert backend.get("conf", "ConfigMap") is None


def test_apply_takes_over_what_stop_declared_and_says_so(backend: Any, cli: Any, write: Any) -> None:
    file = write(WEB.replace("{image", "{runState: Running, image"))
    cli("apply", "-f", file)
    assert cli("stop", "web").code == 0
    result = cli("apply", "-f", file)
    assert result.out == "container/web configured\n"
    assert result.err == "container/web: spec.runState was held by setpoint-run-state; it is the file's now\n"


def test_apply_conflicts_with_other_managers_unless_forced(backend: Any, cli: Any, write: Any) -> None:
    cli("apply", "-f", write(WEB))
    from state.objects import Key

    key = Key("Container", "default", "web")
    backend.do(backend.store.patch(key, {"spec": {"priority": 7}}, manager="robot"))
    file = write(WEB.replace("{image", "{priority: 1, image"))
    result = cli("apply", "-f", file)
    assert result.code == 1
    assert "robot" in result.err
    assert cli("apply", "--force-conflicts", "-f", file).out == "container/web configured\n"


def test_dry_run_stores_nothing(backend: Any, cli: Any, write: Any) -> None:
    assert cli("apply", "--dry-run", "-f", write(WEB)).out == "container/web created (dry run)\n"
    assert backend.get("web") is None


def test_apply_set_prunes(backend: Any, cli: Any, write: Any) -> None:
    file = write(WEB + "---\n" + CONF)
    cli("apply", "--applyset", "app", "-f", file)
    write(WEB)
    assert cli("apply", "--applyset", "app", "--prune", "-f", file).out == "container/web unchanged\nconfigmap/conf pruned\n"
    assert cli("apply", "--prune", "-f", file).code == 2


def test_namespaces_are_made_on_demand(backend: Any, cli: Any, write: Any) -> None:
    file = write(WEB)
    assert (
        cli("apply", "-n", "prod", "--create-namespace", "-f", file).out
        == "namespace/prod created\ncontainer/prod/web created\n"
    )
    result = cli("apply", "-n", "other", "-f", write(WEB.replace("name: web", "name: web, namespace: prod")))
    assert result.err == "error: Container web: metadata.namespace: is 'prod', but -n says 'other'\n"


def test_apply_waits_until_it_is_so_or_never_can_be(backend: Any, cli: Any, write: Any) -> None:

    assert cli("apply", "--wait", "-f", write(WEB)).code == 0
    backend.agent.scripted["bad"] = backend.status_of("Exited", "Quarantined", "3 crashes within 60 s")
    result = cli("apply", "--wait", "-f", write(WEB.replace("web", "bad")))
    assert result.code == 1
    assert "quarantined (3 crashes within 60 s); setpoint retry releases it" in result.err
    backend.agent.scripted["slow"] = backend.status_of("Pending", "ImageMissing", "busybox:1 is not here")
    result = cli("apply", "--wait", "--timeout", "500ms", "-f", write(WEB.replace("web", "slow")))
    assert result.code == 124
    assert "busybox:1 is not here" in result.err


def test_plan_and_its_exit_code(backend: Any, cli: Any, write: Any) -> None:
    file = write(WEB)
    result = cli("plan", "-f", file)
    assert (result.code, result.out) == (0, "container/web would be created\n  make it\n")
    assert cli("plan", "--detailed-exitcode", "-f", file).code == 10
    assert '"do": "CreateRecord"' in cli("plan", "-o", "json", "-f", file).out
    assert backend.get("web") is None


def test_diff(backend: Any, cli: Any, write: Any) -> None:
    file = write(CONF)
    result = cli("diff", "-f", file)
    assert result.code == 1
    assert "+  a: '1'" in result.out
    cli("apply", "-f", file)
    assert (cli("diff", "-f", file).code, cli("diff", "-f", file).out) == (0, "")
    write(CONF.replace('"1"', '"2"'))
    result = cli("diff", "-f", file)
    assert result.code == 1
    assert "-  a: '1'\n+  a: '2'\n" in result.out


def test_diff_of_a_secret_tells_that_but_not_what(backend: Any, cli: Any, write: Any) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: hunter2}\n"
    cli("apply", "-f", write(secret))
    result = cli("diff", "-f", write(secret.replace("hunter2", "hunter3")))
    assert result.code == 1
    assert "hunter" not in result.out
    assert base64.b64encode(b"hunter3").decode() not in result.out
    assert "<redacted: 7 bytes" in result.out


def test_delete_waits_until_it_is_gone(backend: Any, cli: Any) -> None:
    backend.make("a")
    backend.make("b")
    result = cli("delete", "a", "b", "c")
    assert result.out == "container/a deleted\ncontainer/b deleted\n"
    assert result.code == 1
    assert result.err == "error: there is no container 'c' in namespace default\n"
    assert cli("delete", "c", "--ignore-not-found").code == 0


def test_delete_out_of_time(backend: Any, cli: Any) -> None:
    backend.agent.acting = False
    backend.make("a")
    result = cli("delete", "a", "--timeout", "300ms")
    assert result.code == 124
    assert cli("delete", "a", "--wait=false").out == "container/a deletion requested\n"


def test_delete_by_selector_file_and_all(backend: Any, cli: Any, write: Any) -> None:
    for name in ("a", "b", "c", "d"):
        backend.make(name)
    assert cli("delete", "-l", "app in (a,b)").out == "container/a deleted\ncontainer/b deleted\n"
    assert cli("delete", "-f", write(WEB.replace("web", "c"))).out == "container/c deleted\n"
    assert cli("delete", "containers").code == 2
    assert cli("delete", "containers", "--all").out == "container/d deleted\n"
    assert cli("delete").code == 2


def test_delete_carries_the_grace_period(backend: Any, cli: Any) -> None:
    backend.agent.acting = False
    backend.make("a")
    cli("delete", "a", "--force", "--no-wait")
    notes = backend.get("a")["metadata"]["annotations"]
    assert notes["setpoint.dev/delete-options"] == '{"gracePeriodSeconds":0}'


def test_create_secret_and_configmap(backend: Any, cli: Any, write: Any) -> None:
    file = write("# no\nB=2\n", "env")
    assert (
        cli("create", "secret", "generic", "s", "--from-literal", "a=1=2", "--from-env-file", file).out == "secret/s created\n"
    )
    assert backend.get("s", "Secret")["data"] == {"a": "MT0y", "B": "Mg=="}
    assert cli("create", "configmap", "c", "--from-file", f"k={file}").out == "configmap/c created\n"
    assert backend.get("c", "ConfigMap")["data"] == {"k": "# no\nB=2\n"}
    assert cli("create", "namespace", "prod").out == "namespace/prod created\n"
    assert cli("create", "configmap", "c").code == 1
    dry = cli("create", "configmap", "d", "--from-literal=x=y", "--dry-run", "-o", "yaml")
    assert dry.out == "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: d\n  namespace: default\ndata:\n  x: y\n"
    twice = cli("create", "secret", "generic", "t", "--from-literal=a=1", "--from-literal=a=2")
    assert (twice.code, twice.err) == (2, "error: --from-literal: the key 'a' is given twice\n")


def test_label_and_annotate(backend: Any, cli: Any) -> None:
    backend.make("a")
    assert cli("label", "a", "tier=db", "app-").out == "container/a labeled\n"
    assert backend.get("a")["metadata"]["labels"] == {"tier": "db"}
    result = cli("label", "container", "a", "tier=web")
    assert result.err == "error: container/a: metadata.labels[tier]: is 'db' already; --overwrite replaces it\n"
    assert cli("annotate", "container/a", "x.y/z=1", "--overwrite").out == "container/a annotated\n"
    assert cli("label", "a").code == 2
