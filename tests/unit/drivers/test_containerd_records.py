"""Between messages and values: records, times, events, errors, platforms, control groups, shims' command lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp

from controllers.container.ports import Exit, NewInstance, RuntimeEvent
from setpoint._pb import process_pb2, runc_pb2, task_events_pb2, types_pb2
from setpoint.drivers.containerd import cgroups, leftovers, records, rpc
from setpoint.drivers.containerd.channel import Channel, translate
from setpoint.drivers.containerd.images import ImageStore, chain_ids
from setpoint.drivers.containerd.source import read
from setpoint.drivers.containerd.told import Told
from setpoint.drivers.processes import ProcessId, is_alive
from state import errors
from state.objects import Object

UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"
ID = "6b0f7e551f0a4c5e9d5e0123456789ab-3"
NEW = NewInstance(ID, UID, 3, "shop", "cart", "img:1", "sha256:c", {"process": {"args": ["x"]}}, declaration={"hash": "h"})


def stamp(seconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=nanos)


def test_a_record_holds_all_that_is_needed_to_rebuild() -> None:
    made = records.record(NEW, "engine-1", "overlayfs")
    assert dict(made.labels) == {
        "setpoint.dev/engine": "engine-1",
        "setpoint.dev/namespace": "shop",
        "setpoint.dev/name": "cart",
        "setpoint.dev/uid": UID,
        "setpoint.dev/revision": "3",
        "setpoint.dev/chain": "sha256:c",
    }
    assert (made.id, made.snapshot_key, made.image) == (ID, ID, "img:1")
    assert made.spec.type_url == "types.containerd.io/opencontainers/runtime-spec/1/Spec"
    assert json.loads(made.spec.value) == NEW.spec
    seen = records.instance(made, None, None, declaration=True)
    assert (seen.uid, seen.revision, seen.namespace, seen.name) == (UID, 3, "shop", "cart")
    assert seen.declaration == {"hash": "h"}


@pytest.mark.parametrize(
    ("name", "systemd", "binary"),
    [("runc", False, ""), ("runc", True, ""), ("crun", False, "crun"), ("/r", True, "/r")],
)
def test_runtime_options(name: str, systemd: bool, binary: str) -> None:
    runtime = records.runtime(name, systemd_cgroup=systemd)
    options = runc_pb2.Options.FromString(runtime.options.value)
    assert runtime.name == "io.containerd.runc.v2"
    assert runtime.options.type_url == "containerd.runc.v1.Options"
    assert (options.binary_name, options.systemd_cgroup) == (binary, systemd)


def test_another_shim_gets_no_options_of_runc() -> None:
    runtime = records.runtime("io.containerd.kata.v2", systemd_cgroup=True)
    assert (runtime.name, runtime.HasField("options")) == ("io.containerd.kata.v2", False)


def test_times() -> None:
    assert records.time(stamp(1767225600, 1)) == "2026-01-01T00:00:00.000000001Z"
    assert records.time(stamp(1767225600, 999_999_999)) == "2026-01-01T00:00:00.999999999Z"
    assert records.time(stamp(0)) == ""
    assert records.time(stamp(-62135596800)) == ""


def test_only_a_stopped_task_has_an_exit() -> None:
    for name in process_pb2.Status.keys():  # noqa: SIM118  an enum wrapper, no mapping
        process = process_pb2.Process(id=ID, pid=5, status=name, exit_status=7, exited_at=stamp(1767225600))
        told = records.told_exit(process, oom=False)
        seen = records.instance(records.record(NEW, "e", "s"), process, told)
        if name == "STOPPED":
            assert told == Exit(7, "2026-01-01T00:00:00.000000000Z")
            assert seen.pid == 0
        else:
            assert told is None
            assert seen.pid == 5
        assert seen.task == name


def test_foreign_labels_do_no_harm() -> None:
    made = records.record(NEW, "e", "s")
    made.labels["setpoint.dev/revision"] = "not a number"
    made.extensions["setpoint.dev/declaration"].value = b"not json"
    seen = records.instance(made, None, None, declaration=True)
    assert (seen.revision, seen.declaration) == (0, {})


def envelope(topic: str, message: object) -> types_pb2.Envelope:
    value = message.SerializeToString()  # type: ignore[attr-defined]
    return types_pb2.Envelope(namespace="setpoint", topic=topic, event=AnyMessage(value=value))


@pytest.mark.parametrize(
    ("topic", "message", "event"),
    [
        ("/tasks/start", task_events_pb2.TaskStart(container_id=ID, pid=4), RuntimeEvent(ID, "/tasks/start")),
        ("/tasks/oom", task_events_pb2.TaskSubject(container_id=ID), RuntimeEvent(ID, "/tasks/oom")),
        ("/tasks/delete", task_events_pb2.TaskDelete(container_id=ID, id=ID), RuntimeEvent(ID, "/tasks/delete")),
        ("/tasks/delete", task_events_pb2.TaskDelete(container_id=ID, id="exec-1"), None),
        ("/tasks/exit", task_events_pb2.TaskExit(container_id=ID, id="exec-1", exit_status=3), None),
        ("/tasks/exec-added", task_events_pb2.TaskSubject(container_id=ID), None),
        ("/tasks/something-new", task_events_pb2.TaskSubject(container_id=ID), RuntimeEvent(ID, "/tasks/something-new")),
        ("/containers/delete", task_events_pb2.ContainerSubject(id=ID), RuntimeEvent(ID, "/containers/delete")),
        (
            "/tasks/exit",
            task_events_pb2.TaskExit(container_id=ID, id=ID, pid=4, exit_status=3, exited_at=stamp(1767225600)),
            RuntimeEvent(ID, "/tasks/exit", Exit(3, "2026-01-01T00:00:00.000000000Z", true=False)),
        ),
    ],
)
def test_events(topic: str, message: object, event: RuntimeEvent | None) -> None:
    assert read(envelope(topic, message), Told()) == event


def failure(code: grpc.StatusCode, detail: str = "d") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), detail, None)


@pytest.mark.parametrize(
    ("code", "detail", "of_read", "of_change"),
    [
        (grpc.StatusCode.NOT_FOUND, "d", errors.NotFound, errors.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "d", errors.AlreadyExists, errors.AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, "d", errors.Conflict, errors.Conflict),
        (grpc.StatusCode.INVALID_ARGUMENT, "d", errors.Invalid, errors.Invalid),
        (grpc.StatusCode.UNIMPLEMENTED, "d", errors.Invalid, errors.Invalid),
        (grpc.StatusCode.PERMISSION_DENIED, "d", errors.Denied, errors.Denied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "d", errors.Busy, errors.Busy),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max", errors.TooLarge, errors.TooLarge),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "d", errors.Unavailable, errors.InDoubt),
        (grpc.StatusCode.CANCELLED, "d", errors.Unavailable, errors.InDoubt),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses", errors.Unavailable, errors.Unavailable),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", errors.Unavailable, errors.InDoubt),
        (grpc.StatusCode.UNKNOWN, "runc did it", errors.StateError, errors.StateError),
    ],
)
def test_errors(code: grpc.StatusCode, detail: str, of_read: type, of_change: type) -> None:
    assert type(translate(failure(code, detail), reads=True)) is of_read
    assert type(translate(failure(code, detail), reads=False)) is of_change


async def test_nobody_there(tmp_path: Path) -> None:
    channel = Channel(f"unix://{tmp_path}/none.sock")
    assert channel.address == f"{tmp_path}/none.sock"
    with pytest.raises(errors.Unavailable):
        await channel.call(rpc.VERSION, rpc.VERSION.request())
    await channel.close()


def test_chain_ids() -> None:
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert chain_ids([]) == []
    # sha256("sha256:aaa... sha256:bbb..."), computed with sha256sum
    assert chain_ids([first, second]) == [first, "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"]


def entry(digest: str, architecture: str = "", variant: str = "", os: str = "linux") -> Object:
    platform = {"os": os, "architecture": architecture, **({"variant": variant} if variant else {})}
    return {"digest": digest, **({"platform": platform} if architecture else {})}


@pytest.mark.parametrize(
    ("machine", "entries", "chosen"),
    [
        ("x86_64", [entry("arm", "arm64"), entry("amd", "amd64")], "amd"),
        ("x86_64", [entry("v3", "amd64", "v3"), entry("v1", "amd64")], "v1"),
        ("aarch64", [entry("plain", "arm64"), entry("v8", "arm64", "v8")], "v8"),
        ("armv7l", [entry("v6", "arm", "v6"), entry("v7", "arm", "v7")], "v7"),
        ("armv7l", [entry("v6", "arm", "v6")], "v6"),
        ("x86_64", [entry("only")], "only"),
        ("x86_64", [entry("proof", "unknown", os="unknown"), entry("amd", "amd64")], "amd"),
    ],
)
def test_platforms(machine: str, entries: list[Object], chosen: str) -> None:
    assert ImageStore(Channel("/none"), machine=machine).choose("x", entries) == chosen


def test_no_platform_fits() -> None:
    entries = [entry("a", "arm64", "v8"), entry("w", "amd64", os="windows"), entry("p", "unknown", os="unknown")]
    with pytest.raises(errors.Invalid, match=r"linux/amd64, only for linux/arm64/v8, windows/amd64$"):
        ImageStore(Channel("/none"), machine="x86_64").choose("x", entries)
    with pytest.raises(errors.Invalid, match="only for nothing"):
        ImageStore(Channel("/none"), machine="x86_64").choose("x", [])


def group(path: str) -> Object:
    return {"linux": {"cgroupsPath": path}}


def test_control_groups_v1(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "setpoint" / ID / "inner").mkdir(parents=True)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory/setpoint" / ID / "cgroup.procs").write_text("11\n12\n")
    (tmp_path / "pids/setpoint" / ID / "inner/cgroup.procs").write_text("12\n13\n0\n")
    (tmp_path / "memory/setpoint" / ID / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    found = cgroups.folders(group(f"/setpoint/{ID}"), tmp_path)
    assert [path.relative_to(tmp_path).parts[0] for path in found] == ["memory", "pids"]
    assert cgroups.processes(found) == {11, 12, 13}
    assert cgroups.oom_kills(found) == 2


def test_control_groups_v2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids")
    scope = tmp_path / "a.slice/a-b.slice" / f"setpoint-{ID}.scope"
    scope.mkdir(parents=True)
    (scope / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    found = cgroups.folders(group(f"a-b.slice:setpoint:{ID}"), tmp_path)
    assert found == [scope]
    assert cgroups.oom_kills(found) == 1


@pytest.mark.parametrize("path", ["", "/", "/../..", "/setpoint/../../etc"])
def test_no_group_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "memory").mkdir()
    assert cgroups.folders(group(path), tmp_path) == []


async def test_a_shared_group_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory/shared").mkdir(parents=True)
    (tmp_path / "memory/shared/cgroup.procs").write_text("1\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    assert await leftovers.end_processes(ID, group("/shared")) == 0
    assert (tmp_path / "memory/shared").exists()


def shim(tmp_path: Path, *argv: str) -> str:
    (tmp_path / "cmdline").write_bytes("\0".join(argv).encode() + b"\0")
    return leftovers._shim_id(tmp_path, "setpoint", "/run/c.sock")


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, True),
        ({"-namespace": "moby"}, False),
        ({"-address": "/run/containerd/containerd.sock"}, False),
        ({"-id": "web"}, False),
        ({"-id": ID + "/.."}, False),
        ({"program": "/bin/sleep"}, False),
        ({"-debug": ""}, True),
        ({"-bundle": "/b", "delete": ""}, False),
        ({"-publish-binary": "/usr/bin/containerd", "start": ""}, False),
    ],
)
def test_whose_shim(tmp_path: Path, change: dict[str, str], ours: bool) -> None:
    flags = {"-namespace": "setpoint", "-id": ID, "-address": "/run/c.sock", **change}
    program = flags.pop("program", "/usr/bin/containerd-shim-runc-v2")
    assert shim(tmp_path, program, *(word for pair in flags.items() for word in pair)) == (ID if ours else "")


def test_a_process_is_known_by_its_start(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (process,) = leftovers._identified(child.pid)
        assert is_alive(process)
        assert not is_alive(ProcessId(child.pid, process.start + 1))
        leftovers.kill(child.pid, lambda: False)
        assert is_alive(process)
        leftovers.kill(child.pid, lambda: True)
        assert child.wait(5) == -9
        leftovers.kill(child.pid, lambda: True)
    finally:
        child.kill()
        child.communicate()


def test_the_generated_messages_are_current() -> None:
    script = Path(__file__).resolve().parents[3] / "protos/generate.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
