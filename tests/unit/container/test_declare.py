"""From the declaration's words to values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controllers.container.declare import declare, pull_policy, restart_rules
from controllers.container.model import Desired, RestartRules

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def declared(spec: dict[str, Any] | None = None, **meta: Any) -> Desired:
    obj = {
        "kind": "Container",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 3, **meta},
        "spec": {"image": "busybox", **(spec or {})},
    }
    return declare(obj, NOW)


def noted(name: str, value: str, spec: dict[str, Any] | None = None, **meta: Any) -> Desired:
    return declared(spec, annotations={f"setpoint.dev/{name}": value}, **meta)


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        ({}, "image", "docker.io/library/busybox:latest"),
        ({}, "run_state", "Running"),
        ({"runState": "Paused"}, "run_state", "Paused"),
        ({}, "grace_s", 30.0),
        ({"terminationGracePeriodSeconds": 0}, "grace_s", 0.0),
        ({"terminationGracePeriodSeconds": -1}, "grace_s", -1.0),
        ({}, "progress_deadline_s", 600.0),
        ({"updateStrategy": {"minReadySeconds": 5, "progressDeadlineSeconds": 9}}, "min_ready_s", 5.0),
        ({"updateStrategy": {"minReadySeconds": 5, "progressDeadlineSeconds": 9}}, "progress_deadline_s", 9.0),
        ({"hostNetwork": True}, "host_network", True),
        ({"stopSignal": "SIGINT"}, "stop_signal", "SIGINT"),
        ({"autoRemove": True}, "auto_remove", True),
        ({"priority": 7}, "priority", 7),
        ({}, "generation", 3),
        ({}, "deleting", False),
    ],
)
def test_fields(spec: dict[str, Any], field: str, value: object) -> None:
    assert getattr(declared(spec), field) == value


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({}, "Always"),
        ({"restartPolicy": "Always"}, "Always"),
        ({"restartPolicy": "UnlessStopped"}, "Always"),
        ({"restartPolicy": "OnFailure"}, "OnFailure"),
        ({"restartPolicy": "Never"}, "Never"),
        ({"autoRemove": True}, "Never"),
        ({"autoRemove": True, "restartPolicy": "OnFailure"}, "OnFailure"),
    ],
)
def test_restart_policy(spec: dict[str, Any], policy: str) -> None:
    assert restart_rules(spec).policy == policy


def test_restart_numbers() -> None:
    assert restart_rules({}) == RestartRules()
    spec = {
        "restart": {
            "maxRetries": 0,
            "backoff": {"initial": "1s", "factor": 3, "max": "1m30s", "resetAfter": "1h"},
            "crashBudget": {"crashes": 5, "within": "10m"},
        }
    }
    assert restart_rules(spec) == RestartRules("Always", 0, 1.0, 3.0, 90.0, 3600.0, (5, 600.0))


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({"image": "a"}, "Always"),
        ({"image": "a:latest"}, "Always"),
        ({"image": "a:1"}, "IfNotPresent"),
        ({"image": "a:1", "imagePullPolicy": "Always"}, "Always"),
        ({"image": "a", "imagePullPolicy": "Never"}, "Never"),
        ({"image": "a", "imagePullPolicy": "IfNotPresent"}, "IfNotPresent"),
        ({"image": "a@sha256:" + "0" * 64}, "IfNotPresent"),
    ],
)
def test_pull_policy(spec: dict[str, Any], policy: str) -> None:
    assert pull_policy(spec) == policy


@pytest.mark.parametrize(
    ("value", "held", "left"),
    [
        ("true", True, None),
        ("false", False, None),
        ("", False, None),
        ("2030-01-01T00:00:10Z", True, 10.0),
        ("2030-01-01T01:00:10+01:00", True, 10.0),
        ("2030-01-01T00:00:00Z", False, None),
        ("2029-12-31T00:00:00Z", False, None),
        ("2031-01-01T00:00:00", True, None),
        ("until Monday", True, None),
    ],
)
def test_hold(value: str, held: bool, left: float | None) -> None:
    want = noted("hold", value)
    assert (want.held, want.hold_left_s) == (held, left)


@pytest.mark.parametrize(
    ("options", "grace"),
    [
        ('{"gracePeriodSeconds": 5}', 5.0),
        ('{"gracePeriodSeconds": 0}', 0.0),
        ('{"gracePeriodSeconds": -1}', -1.0),
        ('{"gracePeriodSeconds": true}', 30.0),
        ('{"gracePeriodSeconds": "5"}', 30.0),
        ("{}", 30.0),
        ("[]", 30.0),
        ("rubbish", 30.0),
        ("", 30.0),
    ],
)
def test_the_requests_own_grace_period_wins(options: str, grace: float) -> None:
    assert noted("stop-options", options).grace_s == grace
    assert noted("delete-options", options, deletionTimestamp="2030-01-01T00:00:00Z").grace_s == grace


def test_options_of_the_other_request_do_not_count() -> None:
    assert noted("delete-options", '{"gracePeriodSeconds": 1}').grace_s == 30.0
    assert noted("stop-options", '{"gracePeriodSeconds": 1}', deletionTimestamp="x").grace_s == 30.0


@pytest.mark.parametrize(
    ("volume", "mount", "writable"),
    [
        ({"hostPath": {"path": "/x"}}, {}, True),
        ({"hostPath": {"path": "/x"}}, {"readOnly": True}, False),
        ({"emptyDir": {}}, {}, True),
        ({"configMap": {"name": "c"}}, {}, False),
        ({"secret": {"secretName": "c"}}, {}, False),
    ],
)
def test_what_writable_means(volume: dict[str, Any], mount: dict[str, Any], writable: bool) -> None:
    spec = {"volumes": [{"name": "v", **volume}], "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}
    assert declared(spec).writable is writable
    assert not declared({"volumes": spec["volumes"]}).writable, "not mounted"


def test_ids_are_made_of_uid_and_revision() -> None:
    assert declared(uid="1111-22").id(7) == "111122-7"
