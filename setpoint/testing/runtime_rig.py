"""What the runtime contract needs around a runtime: instances to make, time that passes, and hands from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from controllers.container.ports import Instance, NewInstance, Runtime, RuntimeEvent, RuntimeSource, Stdio
from setpoint.testing.fake_runtime import Census
from state.errors import NotFound, Unavailable
from state.objects import Object

T = TypeVar("T")

NULL = Stdio()
FOREVER = ("sleep", "100000")
"""The first process of a pid namespace that has no handler: only SIGKILL ends it."""
OBEDIENT = ("sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.02; done")
HUNGRY = ("sh", "-c", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
SOON = 10.0
CGROUP_PARENT = "setpoint-contract"


class BothPorts(Runtime, RuntimeSource, Protocol):
    """A runtime and its source in one object."""


class Hands(Protocol):
    """Reaching in from outside, as an operator, the kernel or bad luck would."""

    async def kill_process(self, id: str) -> None:
        """SIGKILL to the first process, behind the runtime's back."""

    async def starve(self, id: str) -> None:
        """The process is killed for want of memory (a real HUNGRY one sees to that itself)."""

    async def kill_shim(self, id: str) -> None: ...

    async def hang_shim(self, id: str, *, hung: bool) -> None: ...

    async def delete_task(self, id: str) -> None: ...

    async def delete_record(self, id: str) -> None: ...

    async def drop_snapshot(self, id: str) -> None: ...

    async def add_foreign(self, id: str) -> None:
        """A running container without our label."""


class RuntimeRig(Protocol):
    """One runtime under test, empty at the start of each check."""

    @property
    def runtime(self) -> BothPorts: ...

    @property
    def hands(self) -> Hands: ...

    @property
    def image(self) -> str: ...

    @property
    def chain_id(self) -> str: ...

    @property
    def keeps_exits(self) -> bool:
        """containerd 1.6 keeps an ended task over a restart of its own; 2.x forgets it."""

    def other(self, engine: str) -> Runtime:
        """Another engine on the same containerd."""

    def alive(self, pid: int) -> bool: ...

    def absent_path(self) -> str:
        """A path of the host where nothing is."""

    def appear(self, path: str) -> None:
        """Now there is a folder."""

    async def leave(self) -> None:
        """containerd dies; processes go on."""

    async def come_back(self) -> None: ...

    async def census(self) -> Census: ...

    async def sleep(self, seconds: float) -> None: ...


def new(
    rig: RuntimeRig,
    args: Sequence[str] = FOREVER,
    *,
    host_pid: bool = False,
    bind: str = "",
    memory_bytes: int = 0,
    **changes: Any,
) -> NewInstance:
    """An instance that nobody has made yet."""
    uid = str(uuid4())
    values: dict[str, Any] = {
        "id": f"{uid.replace('-', '')}-1",
        "uid": uid,
        "revision": 1,
        "namespace": "default",
        "name": "web",
        "image": rig.image,
        "chain_id": rig.chain_id,
        "declaration": {"spec": {"image": rig.image}, "hash": "h1"},
        **changes,
    }
    document = spec(values["id"], args, host_pid=host_pid, bind=bind, memory_bytes=memory_bytes)
    return NewInstance(**{"spec": document, **values})


def spec(id: str, args: Sequence[str], *, host_pid: bool = False, bind: str = "", memory_bytes: int = 0) -> Object:
    """The OCI runtime spec of a container that busybox can run in."""
    kinds = ["mount", "ipc", "uts"] + ([] if host_pid else ["pid"])
    capabilities = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
    mounts: list[Object] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    ]
    if bind:
        mounts.append({"destination": "/mnt", "type": "bind", "source": bind, "options": ["rbind", "ro"]})
    limits = {"memory": {"limit": memory_bytes, "swap": memory_bytes}} if memory_bytes else {}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": list(args),
            "cwd": "/",
            "env": ["PATH=/usr/bin:/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        },
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": f"/{CGROUP_PARENT}/{id}",
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"devices": [{"allow": False, "access": "rwm"}], **limits},
        },
    }


async def run(rig: RuntimeRig, args: Sequence[str] = FOREVER, **options: Any) -> tuple[str, int]:
    """A started instance: its id and pid."""
    instance = new(rig, args, **options)
    await rig.runtime.create(instance)
    return instance.id, await rig.runtime.launch(instance.id, NULL)


async def until(rig: RuntimeRig, check: Callable[[], Awaitable[T | None]], within_s: float = SOON) -> T:
    """What ``check`` answers once it answers something true. Raises AssertionError when it does not in time."""
    step_s = 0.02
    for _ in range(round(within_s / step_s)):
        if found := await check():
            return found
        await rig.sleep(step_s)
    raise AssertionError(f"{check} was not true within {within_s:g} s")


async def see(rig: RuntimeRig, id: str) -> Instance:
    """The instance, which is there."""
    seen = await rig.runtime.look(id)
    assert seen is not None, f"{id} is not there"
    return seen


async def stopped(rig: RuntimeRig, id: str) -> Instance:
    """The instance once its task has ended."""

    async def check() -> Instance | None:
        seen = await see(rig, id)
        return seen if seen.task == "STOPPED" else None

    return await until(rig, check)


async def without_task(rig: RuntimeRig, id: str) -> Instance:
    """The instance once its task is not there."""

    async def check() -> Instance | None:
        seen = await see(rig, id)
        return seen if seen.task is None else None

    return await until(rig, check)


async def dead(rig: RuntimeRig, pid: int) -> None:
    """No such process any more."""

    async def check() -> bool:
        return not rig.alive(pid)

    await until(rig, check)


class Listener:
    """Follows the event stream into a list, until it breaks."""

    def __init__(self, source: RuntimeSource) -> None:
        self._source = source
        self.events: list[RuntimeEvent] = []
        self.broken: Unavailable | None = None

    async def follow(self) -> None:
        try:
            async for event in self._source.events():
                self.events.append(event)
        except Unavailable as error:
            self.broken = error

    def topics(self, id: str) -> list[str]:
        return [event.topic for event in self.events if event.id == id]

    async def heard(self, rig: RuntimeRig, id: str, topic: str) -> RuntimeEvent:
        """The first event of that topic for that id, waited for."""

        async def check() -> RuntimeEvent | None:
            return next((event for event in self.events if event.id == id and event.topic == topic), None)

        return await until(rig, check)


@asynccontextmanager
async def listening(rig: RuntimeRig) -> AsyncIterator[Listener]:
    """A listener whose subscription stands."""
    listener = Listener(rig.runtime)
    following = asyncio.get_running_loop().create_task(listener.follow())

    async def standing() -> bool:
        return bool(listener.events) or listener.broken is not None

    try:
        await until(rig, standing)
        yield listener
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def clear(runtime: BothPorts) -> None:
    """No record and no task of this engine is left."""
    for instance in await runtime.list():
        try:
            await runtime.reap(instance.id, force=True)
            await runtime.remove(instance.id)
        except NotFound:
            continue
