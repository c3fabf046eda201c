"""The long forms, word for word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from setpoint.cli.describing import description, reasons


def ago(**span: float) -> str:
    """Half a second more, so that a slow test does not count one second further."""
    return (datetime.now(UTC) - timedelta(**span, milliseconds=500)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_why_of_a_container_in_trouble() -> None:
    text = reasons(
        {
            "name": "web",
            "namespace": "prod",
            "declared": {"runState": "Running", "image": "docker.io/library/web:1", "restartPolicy": "Always"},
            "seen": [{"id": "feed-2", "revision": 2, "task": "none", "pid": 0}],
            "status": {
                "phase": "Restarting",
                "restartCount": 7,
                "nextStartAt": ago(seconds=-31),
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "Restarting", "lastTransitionTime": ago(minutes=5)},
                    {"type": "Waiting", "status": "True", "reason": "BackOff", "message": "it crashes",
                     "lastTransitionTime": ago(seconds=40)},
                ],
            },
            "exits": [{"exitCode": 3, "reason": "Error", "startedAt": ago(seconds=50), "finishedAt": ago(seconds=40)},
                      {"reason": "Unknown", "message": "ShimLost", "finishedAt": ago(hours=1), "signal": 9}],
            "next": [{"do": "Launch", "text": "start revision 2"}],
            "writers": [{"manager": "setpoint", "operation": "Apply", "subresource": "", "time": ago(days=3)},
                        {"manager": "setpoint-agent", "operation": "Update", "subresource": "status", "time": ago(seconds=40)}],
            "loop": {"state": "waiting", "nextLookInSeconds": 30.2, "failures": 0, "error": ""},
            "events": [{"type": "Warning", "reason": "Crashed", "message": "exit code 3", "count": 7,
                        "firstTimestamp": ago(minutes=5), "lastTimestamp": ago(seconds=40)}],
        }
    )  # fmt: skip
    assert text == (
        "web in prod is Restarting\n"
        "\n"
        "Declared:             Running, restart policy Always, docker.io/library/web:1\n"
        "Seen:                 revision 2: task none (feed-2)\n"
        "Ready:                False since 5m, Restarting\n"
        "Waiting:              True since 40s, BackOff: it crashes\n"
        "Restarts:             7\n"
        "Last exits:           40s ago, Error, exit code 3, ran 10s\n"
        "                      60m ago, Unknown, exit code unknown, signal 9: ShimLost\n"
        "Next start:           in 30s\n"
        "Next:                 start revision 2\n"
        "Loop:                 waiting, looks again in 30s\n"
        "Writers:              setpoint wrote the object 3d ago (Apply)\n"
        "                      setpoint-agent wrote status 40s ago (Update)\n"
        "Events:\n"
        "  Age                Type      Reason    Message\n"
        "  ---                ----      ------    -------\n"
        "  40s (x7 over 5m)   Warning   Crashed   exit code 3\n"
    )


def test_why_of_one_that_nobody_has_looked_at() -> None:
    text = reasons({"name": "web", "namespace": "default"})
    assert text.startswith("web is not looked at yet\n")
    assert "Seen:                 nothing of it on this node\n" in text
    assert "Next:                 nothing to do\n" in text


def test_description() -> None:
    obj = {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {"name": "web", "namespace": "default", "labels": {"a": "b", "c": "d"}, "uid": "u",
                     "creationTimestamp": ago(hours=5), "deletionTimestamp": ago(seconds=3)},
        "spec": {"image": "x", "args": ["a\x1b[2J"], "command": ["sh", "-c", "one\ntwo\n"]},
        "status": {"phase": "Removing", "conditions": []},
    }  # fmt: skip
    text = description(obj, [])
    assert text.startswith(
        "Name:                 web\n"
        "Namespace:            default\n"
        "Kind:                 Container (setpoint.dev/v1alpha1)\n"
        "Labels:               a=b\n"
        "                      c=d\n"
        "Annotations:          <none>\n"
    )
    assert "(3s ago)" in text
    assert "  - |\n    one\n    two\n" in text
    assert text.endswith("Status:\n  phase: Removing\nEvents:               <none>\n")
    assert "\x1b" not in text
