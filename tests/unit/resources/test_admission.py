"""What is stored: defaults, what may not change, what is told."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from setpoint.testing.hostile import container, data_object
from state.errors import BadRequest, Invalid, TooLarge
from state.resources.admission import admit, review
from state.resources.container import Container
from state.resources.secret import Secret

_DEFAULTS = {
    "image": "docker.io/library/busybox:1.36",
    "tty": False,
    "stdin": False,
    "init": False,
    "shmSize": "64Mi",
    "runState": "Running",
    "restart": {"backoff": {"initial": "100ms", "factor": 2, "max": "60s", "resetAfter": "10s"}},
    "autoRemove": False,
    "updateStrategy": {"type": "StopFirst", "progressDeadlineSeconds": 600, "minReadySeconds": 0},
    "terminationGracePeriodSeconds": 30,
    "priority": 0,
    "hostNetwork": False,
    "hostPID": False,
    "hostIPC": False,
    "runtime": "runc",
    "logging": {"maxSize": "10Mi", "maxFiles": 5},
}


def _full() -> dict[str, Any]:
    """One of everything that this version takes."""
    return container(
        {"labels": {"app": "web"}, "annotations": {"setpoint.dev/hold": "true"}, "finalizers": ["setpoint.dev/node"]},
        imagePullPolicy="IfNotPresent",
        imagePullSecrets=[{"name": "r"}],
        command=["sh", "-c"],
        args=["echo $(A)"],
        env=[
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": True, "onChange": "None"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s", "optional": True}}],
        workingDir="/srv",
        tty=True,
        stdin=True,
        init=True,
        securityContext={
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": True,
            "supplementalGroups": [5],
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "procMount": "Default",
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        resources={
            "limits": {"memory": "64Mi", "cpu": 0.5, "pids": 100},
            "requests": {"memory": "32Mi", "cpu": "250m"},
            "linux": {"memorySwap": "128Mi", "cpuset": "0-1", "oomScoreAdj": 100},
        },
        ulimits=[{"name": "nofile", "soft": 1024, "hard": 2048}, {"name": "core", "soft": -1}],
        sysctls=[{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        volumes=[
            {"name": "h", "hostPath": {"path": "/srv", "type": "Directory"}},
            {"name": "e", "emptyDir": {}},
            {"name": "t", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {
                "name": "c",
                "configMap": {"name": "c", "items": [{"key": "k", "path": "a/b", "mode": 256}], "onChange": "None"},
            },
            {"name": "s", "secret": {"secretName": "s", "defaultMode": 256, "optional": True}},
        ],
        volumeMounts=[
            {"name": "h", "mountPath": "/h", "readOnly": True, "mountPropagation": "HostToContainer"},
            {"name": "e", "mountPath": "/e", "subPath": "x/y"},
            {"name": "t", "mountPath": "/t"},
            {"name": "c", "mountPath": "/c"},
            {"name": "s", "mountPath": "/s"},
        ],
        shmSize="32Mi",
        runState="Paused",
        restartPolicy="OnFailure",
        restart={"maxRetries": 3, "backoff": {"initial": "1s", "factor": 1.5}, "crashBudget": {"crashes": 5, "within": "10m"}},
        updateStrategy={"progressDeadlineSeconds": 60},
        terminationGracePeriodSeconds=-1,
        stopSignal="SIGQUIT",
        priority=-5,
        hostname="web-1",
        hostUsers=True,
        dnsPolicy="None",
        dnsConfig={"nameservers": ["10.0.0.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]},
        hostAliases=[{"ip": "10.0.0.2", "hostnames": ["db", "db.local"]}],
        nodeName="node-1",
        runtime="runc",
        cgroupParent="/setpoint",
        logging={"maxSize": "1Mi", "maxFiles": 2},
    )


def test_defaults_are_written() -> None:
    assert admit(container())["spec"] == _DEFAULTS


def test_defaults_are_not_written_into_list_items() -> None:
    full = _full()
    stored = admit(full)
    for name in ("volumes", "volumeMounts", "env", "envFrom", "ulimits"):
        assert stored["spec"][name] == full["spec"][name]
    assert stored["spec"]["restart"]["backoff"] == {"initial": "1s", "factor": 1.5, "max": "60s", "resetAfter": "10s"}


def test_everything_is_taken_and_parsed() -> None:
    stored = admit(_full())
    assert admit(stored, stored) == stored
    spec = Container.model_validate(stored).spec
    assert spec.ulimits[1].hard == -1
    assert spec.ulimits[0].hard == 2048
    assert spec.volumes[3].config_map is not None
    assert spec.volumes[3].config_map.default_mode == 0o644
    assert spec.volume_mounts[1].read_only is False
    assert spec.resources is not None
    assert spec.resources.limits is not None
    assert spec.resources.limits.cpu is not None
    assert spec.resources.limits.cpu.millis == 500
    assert hash(spec.image) == hash(stored["spec"]["image"])
    with pytest.raises(Exception, match="frozen"):
        spec.image = "other"  # type: ignore[misc]


def test_input_is_left_alone() -> None:
    given = _full()
    before = copy.deepcopy(given)
    admit(given)
    assert given == before


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({}, "Always"),
        ({"autoRemove": True}, "Never"),
        ({"autoRemove": True, "restartPolicy": "OnFailure"}, "OnFailure"),
        ({"restartPolicy": "UnlessStopped"}, "UnlessStopped"),
    ],
)
def test_restart_policy_follows_auto_remove(spec: dict[str, Any], policy: str) -> None:
    stored = admit(container(**spec))
    assert Container.model_validate(stored).spec.restart_policy == policy
    assert ("restartPolicy" in stored["spec"]) == ("restartPolicy" in spec)


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1", "IfNotPresent"),
        ("a@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert Container.model_validate(admit(container(image=image))).spec.image_pull_policy == policy
    assert Container.model_validate(admit(container(image=image, imagePullPolicy="Never"))).spec.image_pull_policy == "Never"


def test_hard_limit_follows_soft() -> None:
    assert Container.model_validate(admit(container(ulimits=[{"name": "nproc", "soft": 7}]))).spec.ulimits[0].hard == 7


def test_nulls_count_as_absent_but_in_status() -> None:
    stored = admit({**container(hostname=None, env=[{"name": "A", "value": None}]), "status": {"pid": None}})
    assert stored["spec"]["env"] == [{"name": "A"}]
    assert stored["status"] == {"pid": None}


def test_all_problems_are_told_together() -> None:
    with pytest.raises(BadRequest) as caught:
        admit(
            container(
                {"name": "my_app"},
                image="A",
                tty="yes",
                ports=[],
                user="root",
                autoRemove=True,
                restartPolicy="Always",
                volumeMounts=[{"name": "x", "mountPath": "y"}],
            )
        )
    fields = {each.field for each in caught.value.causes}
    assert fields == {
        "metadata.name",
        "spec.image",
        "spec.tty",
        "spec.ports",
        "spec.user",
        "spec.autoRemove",
        "spec.volumeMounts[0].mountPath",
        "spec.volumeMounts[0].name",
    }
    assert caught.value.message.startswith(
        'Container.setpoint.dev "my_app" is invalid: strict decoding error: unknown field "spec.user"'
    )


def test_many_problems_are_cut() -> None:
    with pytest.raises(Invalid) as caught:
        admit(container(env=[{"name": "="}] * 500))
    assert len(caught.value.causes) == 101
    assert "and 400 more" in caught.value.causes[-1].message or "more problems" in caught.value.causes[-1].message


def test_unknown_fields_are_dropped_when_asked() -> None:
    admitted = review(container(foo=1, env=[{"name": "A", "bar": 2}]), strict=False)
    assert admitted.object == admit(container(env=[{"name": "A"}]))
    assert admitted.warnings == ("spec.env[0].bar: unknown field", "spec.foo: unknown field")


def test_not_yet_is_refused_even_when_lenient() -> None:
    with pytest.raises(Invalid, match=r"spec\.ports: not supported yet"):
        review(container(ports=[], foo=1), strict=False)


def test_node_name_is_set_once() -> None:
    free, bound = admit(container()), admit(container(nodeName="a"))
    assert admit(bound, free) == bound
    for other in (container(nodeName="b"), container()):
        with pytest.raises(Invalid, match=r"spec\.nodeName"):
            admit(other, bound)


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
def test_identity_is_fixed(field: str) -> None:
    old = admit(container({"uid": "u"}))
    with pytest.raises(Invalid, match=f"metadata.{field}"):
        admit(container({"uid": "u", field: "other"}), old)


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_immutable_data(kind: str) -> None:
    old = admit(data_object(kind, data={"a": "Yg=="}, immutable=True))
    assert admit(data_object(kind, data={"a": "Yg=="}, immutable=True), old) == old
    with pytest.raises(Invalid, match="immutable"):
        admit(data_object(kind, data={"a": "YQ=="}, immutable=True), old)
    with pytest.raises(Invalid, match="once true it stays"):
        admit(data_object(kind, data={"a": "Yg=="}), old)


def test_secret_type_is_fixed() -> None:
    with pytest.raises(Invalid, match="type"):
        admit(data_object("Secret", type="a/b"), admit(data_object("Secret")))


def test_string_data_moves_into_data() -> None:
    stored = admit(data_object("Secret", data={"a": "YQ==", "b": "Yg=="}, stringData={"b": "é", "c": ""}))
    assert "stringData" not in stored
    assert Secret.model_validate(stored).contents() == {"a": b"a", "b": "é".encode(), "c": b""}
    assert stored["type"] == "Opaque"


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"a": "hunter2!"}},
        {"stringData": {"a": ["hunter2!"]}},
        {"data": "hunter2!"},
        {"hunter": "hunter2!"},
        {"stringData": {"a": 1}, "data": {"a": "hunter2!"}},
    ],
)
def test_values_of_secrets_are_never_told(fields: dict[str, Any]) -> None:
    with pytest.raises((Invalid, BadRequest)) as caught:
        admit(data_object("Secret", **fields))
    assert "hunter2" not in json.dumps(caught.value.to_status())


def test_object_size() -> None:
    with pytest.raises(TooLarge, match="larger than"):
        admit(container(env=[{"name": f"A{at}", "value": "x" * 100_000} for at in range(16)]))
    assert admit(data_object("ConfigMap", binaryData={"a": base64.b64encode(b"x" * (1 << 20)).decode()}))


@pytest.mark.parametrize("junk", [None, 1, "a", [], [{}], b"x", {1: 2}, {"kind": {}}, {"kind": "Container", "apiVersion": []}])
def test_what_is_no_object(junk: Any) -> None:
    with pytest.raises(BadRequest):
        admit(junk)


def test_generated_names_are_admitted() -> None:
    given = container()
    del given["metadata"]["name"]
    given["metadata"]["generateName"] = "web-"
    assert admit(given)["metadata"]["generateName"] == "web-"


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "status": {"phase": "Active"}},
        {"apiVersion": "setpoint.dev/v1alpha1", "kind": "Node", "metadata": {"name": "a.b"}},
        {
            "apiVersion": "setpoint.dev/v1alpha1",
            "kind": "Image",
            "metadata": {"name": "a"},
            "spec": {"reference": "a", "pinned": True},
        },
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "a.1", "namespace": "b"},
            "type": "Warning",
            "reason": "Failed",
            "involvedObject": {"kind": "Container", "name": "a"},
            "count": 3,
            "source": {"component": "agent"},
            "firstTimestamp": "2026-01-31T12:00:00Z",
            "lastTimestamp": "2026-01-31T12:00:00.123456+00:00",
        },
    ],
)
def test_other_kinds(obj: dict[str, Any]) -> None:
    stored = admit(obj)
    assert admit(stored, stored) == stored


def test_node_defaults() -> None:
    assert admit({"apiVersion": "setpoint.dev/v1alpha1", "kind": "Node", "metadata": {"name": "a"}})["spec"] == {
        "startBudget": "4/s"
    }


def test_status_is_an_object() -> None:
    with pytest.raises(Invalid, match="status: must be an object, not a string"):
        admit({**container(), "status": "up"})
