"""Between containerd's messages and the values of our ports."""

from __future__ import annotations

import json
from datetime import UTC

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp

from controllers.container.ports import Exit, Instance, NewInstance, TaskState
from setpoint._pb import containers_pb2, process_pb2, runc_pb2
from state.objects import Object

ENGINE, NAMESPACE, NAME, UID, REVISION, CHAIN = (
    f"setpoint.dev/{word}" for word in ("engine", "namespace", "name", "uid", "revision", "chain")
)
DECLARATION = "setpoint.dev/declaration"

RUNTIME = "io.containerd.runc.v2"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
OPTIONS_TYPE = "containerd.runc.v1.Options"

_STATES: dict[int, TaskState] = {
    process_pb2.UNKNOWN: "UNKNOWN",
    process_pb2.CREATED: "CREATED",
    process_pb2.RUNNING: "RUNNING",
    process_pb2.STOPPED: "STOPPED",
    process_pb2.PAUSED: "PAUSED",
    process_pb2.PAUSING: "PAUSING",
}


def packed(type_url: str, document: Object) -> AnyMessage:
    """A JSON document as containerd's typeurl library reads it: no ``type.googleapis.com/`` in front."""
    return AnyMessage(type_url=type_url, value=json.dumps(document, separators=(",", ":")).encode())


def unpacked(message: AnyMessage) -> Object:
    """The JSON document in such a message; empty when it holds none."""
    try:
        document = json.loads(message.value or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def record(new: NewInstance, engine: str, snapshotter: str) -> containers_pb2.Container:
    """The container record of a new instance."""
    labels = {
        ENGINE: engine,
        NAMESPACE: new.namespace,
        NAME: new.name,
        UID: new.uid,
        REVISION: str(new.revision),
        CHAIN: new.chain_id,
    }
    return containers_pb2.Container(
        id=new.id,
        labels=labels,
        image=new.image,
        runtime=runtime(new.runtime, systemd_cgroup=new.systemd_cgroup),
        spec=packed(SPEC_TYPE, new.spec),
        snapshotter=snapshotter,
        snapshot_key=new.id,
        extensions={DECLARATION: packed(DECLARATION, new.declaration)},
    )


def runtime(name: str, *, systemd_cgroup: bool) -> containers_pb2.Container.Runtime:
    """``runc``, or a program with its command line, runs under the same shim; ``io.containerd.X`` is a shim of its own."""
    if name.startswith("io.containerd."):
        return containers_pb2.Container.Runtime(name=name)
    options = runc_pb2.Options(binary_name="" if name == "runc" else name, systemd_cgroup=systemd_cgroup)
    return containers_pb2.Container.Runtime(
        name=RUNTIME, options=AnyMessage(type_url=OPTIONS_TYPE, value=options.SerializeToString())
    )


def time(stamp: Timestamp) -> str:
    """RFC 3339, UTC, nine digits; empty for the zero time of protobuf or Go."""
    if stamp.seconds <= 0:
        return ""
    return f"{stamp.ToDatetime(UTC):%Y-%m-%dT%H:%M:%S}.{stamp.nanos:09d}Z"


def state(process: process_pb2.Process) -> TaskState:
    return _STATES.get(process.status, "UNKNOWN")


def told_exit(process: process_pb2.Process, *, oom: bool) -> Exit | None:
    """The exit of a stopped task. True: only a shim that lives answers STOPPED; a dead one is NOT_FOUND or UNKNOWN."""
    if process.status != process_pb2.STOPPED:
        return None
    return Exit(process.exit_status, time(process.exited_at), oom=oom)


def instance(
    container: containers_pb2.Container,
    process: process_pb2.Process | None,
    exit: Exit | None,
    *,
    declaration: bool = False,
) -> Instance:
    """One row of ours."""
    labels = container.labels
    revision = labels.get(REVISION, "0")
    return Instance(
        id=container.id,
        uid=labels.get(UID, ""),
        revision=int(revision) if revision.isdigit() else 0,
        namespace=labels.get(NAMESPACE, ""),
        name=labels.get(NAME, ""),
        task=None if process is None else state(process),
        pid=0 if process is None or process.status == process_pb2.STOPPED else process.pid,
        exit=exit,
        declaration=unpacked(container.extensions[DECLARATION])
        if declaration and DECLARATION in container.extensions
        else None,
    )
