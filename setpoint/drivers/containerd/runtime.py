"""Containers, tasks and snapshots of one engine in one containerd namespace: the ``Runtime`` and ``RuntimeSource`` ports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Container, Sequence
from dataclasses import dataclass
from functools import partial

from google.protobuf.field_mask_pb2 import FieldMask

from controllers.container.ports import Exit, Instance, NewInstance, RuntimeEvent, Stdio
from setpoint._pb import containers_pb2, namespaces_pb2, process_pb2, snapshots_pb2, tasks_pb2, types_pb2
from setpoint.drivers.containerd import cgroups, leftovers, records, rpc, source
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.failures import start_failed
from setpoint.drivers.containerd.told import Told
from state.errors import AlreadyExists, Busy, Conflict, Denied, InDoubt, NotFound, StateError, Unavailable
from state.objects import Object

SIGKILL = 9
TASK_PATIENCE_S = 60.0
"""How long we wait for a call that forks runc; the call itself goes on, since cutting off ``Tasks.Create`` can leave a shim."""
RECORDS_DEADLINE_S = 5.0
"""containerd reads its records from a file of its own: one that takes longer hangs, or is stopped."""
LIST_DEADLINE_S = 120.0
"""containerd asks the shims one after the other and gives each 2 s: this is for 50 silent ones."""
KILL_DEADLINE_S = 10.0
"""From SIGKILL to the shim's word that the process is gone; longer means a process in uninterruptible sleep."""
YOUNG_SHIM_S = 5.0
"""A shim this young may belong to a ``Tasks.Create`` that is still under way; they take 30 to 300 ms."""
FORGET_DEADLINE_S = 10.0
"""From a shim's end to containerd's having cleaned up after it, which takes it one more fork of the shim."""
SHIM_TIMEOUT_S = 1.9
"""A little less than what containerd allows a shim to answer (``io.containerd.timeout.task.state``)."""
SHIM_SILENT = "context deadline exceeded"
"""containerd's words, not ours: it waited for the shim and gave up."""


_Records = list[containers_pb2.Container]
_Mounts = Sequence[types_pb2.Mount]


class Containerd:
    """The node's containers through containerd. Touches only records that carry our engine's label.

    Owns: records with label ``setpoint.dev/engine`` = ``engine``, their snapshots (same key as the record), their tasks,
    and the processes and shims that those leave behind.
    """

    def __init__(self, channel: Channel, engine: str, *, snapshotter: str = "overlayfs") -> None:
        self._channel = channel
        self._engine = engine
        self._snapshotter = snapshotter
        self._told = Told()
        self._launching: set[str] = set()

    # -- records ---------------------------------------------------------------------------------------------------

    async def claim(self) -> None:
        """This containerd namespace is our engine's. Raises Conflict when it is another's."""
        name = self._channel.namespace
        new = namespaces_pb2.Namespace(name=name, labels={records.ENGINE: self._engine})
        with contextlib.suppress(AlreadyExists):
            await self._channel.call(rpc.NAMESPACE_CREATE, namespaces_pb2.CreateNamespaceRequest(namespace=new))
        reply = await self._channel.call(rpc.NAMESPACE_GET, namespaces_pb2.GetNamespaceRequest(name=name))
        owner = reply.namespace.labels.get(records.ENGINE, "")
        if owner and owner != self._engine:
            raise Conflict(f"containerd namespace {name} belongs to engine {owner}, not to {self._engine}")
        if not owner:
            await self._channel.call(rpc.NAMESPACE_UPDATE, namespaces_pb2.UpdateNamespaceRequest(namespace=new))

    async def create(self, new: NewInstance) -> None:
        record = records.record(new, self._engine, self._snapshotter)
        try:
            # The record first: it is what keeps the snapshot from garbage collection.
            await self._channel.call(rpc.CONTAINER_CREATE, containers_pb2.CreateContainerRequest(container=record))
        except AlreadyExists:
            there = await self._record(new.id)
            if there is None or dict(there.labels) != dict(record.labels):
                raise AlreadyExists(
                    f"container {new.id} is there, and is not this one", kind="Container", name=new.id
                ) from None
            if there.spec != record.spec:
                mask = FieldMask(paths=["spec"])
                request = containers_pb2.UpdateContainerRequest(container=record, update_mask=mask)
                await self._channel.call(rpc.CONTAINER_UPDATE, request)
        try:
            await self._prepare(new.id, new.chain_id)
        except NotFound as error:
            await self._delete_record(new.id)
            raise _no_image(new.image) from error

    async def remove(self, id: str) -> None:
        record, task = await asyncio.gather(self._record(id), self._task(id))
        if task is not None:
            raise Conflict(f"container {id} still has a task", kind="Container", name=id)
        if record is not None:
            self._require_ours(record)
            await self._end_leftovers(record)
        with contextlib.suppress(NotFound):
            request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=id)
            await self._channel.call(rpc.SNAPSHOT_REMOVE, request)
        await self._delete_record(id)
        self._told.forget(id)

    async def look(self, id: str) -> Instance | None:
        record, task = await asyncio.gather(self._record(id), self._task(id))
        if record is None or record.labels.get(records.ENGINE) != self._engine:
            return None
        return records.instance(record, task, self._exit(record, task), declaration=True)

    async def document(self, id: str) -> Object:
        """The OCI runtime spec that the record holds. Raises NotFound."""
        record = await self._record(id)
        if record is None:
            raise NotFound(f"no container {id}", kind="Container", name=id)
        return records.unpacked(record.spec)

    async def list(self) -> Sequence[Instance]:
        tasks, containers = await asyncio.gather(self._tasks(), self._records())
        await self._add_hidden(tasks, containers)
        return [records.instance(each, tasks.get(each.id), self._exit(each, tasks.get(each.id))) for each in containers]

    def events(self) -> AsyncIterator[RuntimeEvent]:
        return source.events(self._channel, self._told)

    async def sweep_shims(self, known: Container[str] = ()) -> Sequence[str]:
        """Ends shims of ours that containerd has no task for; returns their ids. ``known``: ids just listed with a task; the
        others are asked for.

        A ``Tasks.Create`` that was cut off leaves such ones. Ours: our namespace and our containerd's socket on the command
        line, and an id of our form; none that is younger than a few seconds or that this process is launching.
        """
        ended = []
        for shim in leftovers.shims(self._channel.namespace, self._channel.address, known):
            if shim.id in self._launching or leftovers.age_s(shim) < YOUNG_SHIM_S:
                continue
            if await self._task(shim.id) is None:
                await self._end_shim(shim)
                ended.append(shim.id)
        return ended

    # -- tasks -----------------------------------------------------------------------------------------------------

    async def launch(self, id: str, stdio: Stdio) -> int:
        if id in self._launching:
            raise AlreadyExists(f"container {id} is being launched", kind="Container", name=id)
        record, mounts = await asyncio.gather(self._record(id), self._mounts_of(id))
        if record is None:
            raise NotFound(f"container {id} has no record", kind="Container", name=id)
        self._require_ours(record)
        await self._create_task(record, mounts or await self._prepare_again(record), stdio)
        try:
            reply = await self._channel.patient(rpc.TASK_START, tasks_pb2.StartRequest(container_id=id), wait_s=TASK_PATIENCE_S)
        except (InDoubt, Unavailable) as error:
            raise InDoubt(f"the task of {id} was made, and may or may not have started: {error.message}") from error
        except StateError as error:
            await self.reap(id, force=True)
            raise start_failed(error) from error
        return reply.pid

    async def signal(self, id: str, signal: int, *, everyone: bool = False) -> None:
        request = tasks_pb2.KillRequest(container_id=id, signal=signal, all=everyone)
        await self._channel.call(rpc.TASK_KILL, request)

    async def pause(self, id: str) -> None:
        try:
            await self._channel.patient(rpc.TASK_PAUSE, tasks_pb2.PauseTaskRequest(container_id=id), wait_s=TASK_PATIENCE_S)
        except StateError as error:
            await self._settle(id, "PAUSED", error)

    async def resume(self, id: str) -> None:
        try:
            await self._channel.patient(rpc.TASK_RESUME, tasks_pb2.ResumeTaskRequest(container_id=id), wait_s=TASK_PATIENCE_S)
        except StateError as error:
            await self._settle(id, "RUNNING", error)

    async def update(self, id: str, resources: Object) -> None:
        request = tasks_pb2.UpdateTaskRequest(container_id=id, resources=records.packed(records.RESOURCES_TYPE, resources))
        await self._channel.patient(rpc.TASK_UPDATE, request, wait_s=TASK_PATIENCE_S)

    async def reap(self, id: str, *, force: bool = False) -> Exit | None:
        task = await self._task(id)
        if task is not None and task.status != process_pb2.STOPPED:
            if not force:
                raise Conflict(f"container {id} is {records.state(task)}", kind="Container", name=id)
            await self._kill(id, task)
            task = await self._task(id)
        if task is None:
            if force and (record := await self._record(id)) is not None:
                await self._end_leftovers(record)
            return self._told.exit(id)
        if task.status != process_pb2.STOPPED:
            raise Unavailable(f"container {id} has not ended {KILL_DEADLINE_S:g} s after SIGKILL", kind="Container", name=id)
        record = await self._record(id) if task.exit_status == 128 + SIGKILL else None
        exit = records.told_exit(task, oom=self._oom(record, task))
        self._told.reaping(id, task.pid, exit)
        with contextlib.suppress(NotFound):
            await self._channel.patient(rpc.TASK_DELETE, tasks_pb2.DeleteTaskRequest(container_id=id), wait_s=TASK_PATIENCE_S)
        self._told.reaped(id)
        return exit

    # -- parts -----------------------------------------------------------------------------------------------------

    def _require_ours(self, record: containers_pb2.Container) -> None:
        owner = record.labels.get(records.ENGINE, "")
        if owner != self._engine:
            raise Denied(f"container {record.id} is not ours (engine {owner or 'none'})", kind="Container", name=record.id)

    async def _record(self, id: str) -> containers_pb2.Container | None:
        with contextlib.suppress(NotFound):
            return (await self._channel.call(rpc.CONTAINER_GET, containers_pb2.GetContainerRequest(id=id))).container
        return None

    async def _records(self) -> _Records:
        request = containers_pb2.ListContainersRequest(filters=[f'labels."{records.ENGINE}"=={self._engine}'])
        return [
            reply.container async for reply in self._channel.stream(rpc.CONTAINER_LIST, request, timeout_s=RECORDS_DEADLINE_S)
        ]

    async def _delete_record(self, id: str) -> None:
        with contextlib.suppress(NotFound):
            await self._channel.call(rpc.CONTAINER_DELETE, containers_pb2.DeleteContainerRequest(id=id))

    async def _task(self, id: str) -> process_pb2.Process | None:
        """None only if containerd says that there is none; a shim that does not answer is a task in state UNKNOWN."""
        try:
            return (await self._channel.call(rpc.TASK_GET, tasks_pb2.GetRequest(container_id=id))).process
        except NotFound:
            return None
        except Unavailable as error:
            if SHIM_SILENT not in error.message:
                raise
        return process_pb2.Process(id=id, status=process_pb2.UNKNOWN)

    async def _tasks(self) -> _Tasks:
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = await self._channel.call(rpc.TASK_LIST, tasks_pb2.ListTasksRequest(), timeout_s=LIST_DEADLINE_S)
        return _Tasks({task.id: task for task in reply.tasks}, slow=loop.time() - began >= SHIM_TIMEOUT_S)

    async def _add_hidden(self, tasks: _Tasks, containers: Sequence[containers_pb2.Container]) -> None:
        """containerd 2.x leaves tasks out of its list when their shim does not answer in time: ask for each by itself."""
        if not tasks.slow:
            return
        missing = [each.id for each in containers if each.id not in tasks.by_id]
        for id, task in zip(missing, await asyncio.gather(*map(self._task, missing)), strict=True):
            if task is not None:
                tasks.by_id[id] = task

    def _exit(self, record: containers_pb2.Container, task: process_pb2.Process | None) -> Exit | None:
        if task is None:
            return self._told.exit(record.id)
        return records.told_exit(task, oom=self._oom(record, task))

    def _oom(self, record: containers_pb2.Container | None, task: process_pb2.Process) -> bool:
        if self._told.oom(task.id):
            return True
        if record is None or task.status != process_pb2.STOPPED or task.exit_status != 128 + SIGKILL:
            return False
        # The event may have come while nobody listened; the group keeps its count until the task is deleted.
        return cgroups.oom_kills(cgroups.folders(records.unpacked(record.spec))) > 0

    async def _prepare(self, id: str, chain: str) -> _Mounts:
        request = snapshots_pb2.PrepareSnapshotRequest(snapshotter=self._snapshotter, key=id, parent=chain)
        try:
            return tuple((await self._channel.call(rpc.SNAPSHOT_PREPARE, request)).mounts)
        except AlreadyExists:
            return ()

    async def _mounts_of(self, id: str) -> _Mounts:
        """Empty when there is no such snapshot."""
        request = snapshots_pb2.MountsRequest(snapshotter=self._snapshotter, key=id)
        with contextlib.suppress(NotFound):
            return tuple((await self._channel.call(rpc.SNAPSHOT_MOUNTS, request)).mounts)
        return ()

    async def _prepare_again(self, record: containers_pb2.Container) -> _Mounts:
        """The snapshot of a record was lost."""
        try:
            return await self._prepare(record.id, record.labels.get(records.CHAIN, ""))
        except NotFound as error:
            raise _no_image(record.image) from error

    async def _create_task(self, record: containers_pb2.Container, mounts: _Mounts, stdio: Stdio) -> None:
        """The task is there, created. A shim without a task that is in the way is ended, and it is tried once more."""
        id = record.id
        request = tasks_pb2.CreateTaskRequest(
            container_id=id,
            rootfs=mounts,
            stdin=stdio.stdin,
            stdout=stdio.stdout,
            stderr=stdio.stderr,
            terminal=stdio.terminal,
        )
        await self._end_leftovers(record)
        try:
            try:
                await self._ask_for_task(request)
            except AlreadyExists as error:
                await self._clear_way(request, error)
        except StateError as error:
            raise start_failed(error) from error
        self._told.launched(id)

    async def _ask_for_task(self, request: tasks_pb2.CreateTaskRequest) -> None:
        id = request.container_id
        self._launching.add(id)  # until containerd has answered, which may be long after we stopped waiting
        settled = partial(self._launching.discard, id)
        try:
            await self._channel.patient(rpc.TASK_CREATE, request, wait_s=TASK_PATIENCE_S, settled=settled)
        except StateError as error:
            if error.message.endswith((f"{id}: file exists", f"{id}: file exists: unknown")):
                # The bundle of a shim that has just ended: containerd is still cleaning up.
                raise AlreadyExists(error.message, kind="Container", name=id) from error
            raise

    async def _clear_way(self, request: tasks_pb2.CreateTaskRequest, error: AlreadyExists) -> None:
        """After a crash containerd 1.6 takes up a shim that never had a task: none to show, and yet AlreadyExists.

        Ends that shim and asks again until containerd has noticed.
        """
        id, loop = request.container_id, asyncio.get_running_loop()
        until = loop.time() + FORGET_DEADLINE_S
        while True:
            if await self._task(id) is not None or loop.time() > until:
                raise error
            for shim in leftovers.shims(self._channel.namespace, self._channel.address):
                if shim.id == id:
                    _require_old(shim)
                    await self._end_shim(shim)
            with contextlib.suppress(AlreadyExists):
                return await self._ask_for_task(request)
            await asyncio.sleep(leftovers.POLL_S)

    async def _end_shim(self, shim: leftovers.Shim) -> None:
        await leftovers.end_shim(shim)
        if (record := await self._record(shim.id)) is not None:
            await self._end_leftovers(record)

    async def _end_leftovers(self, record: containers_pb2.Container) -> None:
        """No process of a container without a task lives on, and runc has forgotten it."""
        spec, namespace = records.unpacked(record.spec), self._channel.namespace
        if leftovers.left(namespace, record.id, spec) and await self._task(record.id) is None:
            await leftovers.end_processes(record.id, spec)
            leftovers.forget_state(namespace, record.id)

    async def _settle(self, id: str, wanted: str, error: StateError) -> None:
        task = await self._task(id)
        if task is None:
            raise NotFound(f"container {id} has no task", kind="Container", name=id) from error
        if records.state(task) == wanted:
            return
        if isinstance(error, InDoubt | Unavailable | NotFound):
            raise error
        raise Conflict(f"container {id} is {records.state(task)}: {error.message}", kind="Container", name=id) from error

    async def _kill(self, id: str, task: process_pb2.Process) -> None:
        """Its processes have ended, or the deadline is over."""
        if task.status == process_pb2.UNKNOWN:
            for shim in leftovers.shims(self._channel.namespace, self._channel.address):
                if shim.id == id:
                    await leftovers.end_shim(shim)
            return
        if task.status in {process_pb2.PAUSED, process_pb2.PAUSING}:
            with contextlib.suppress(StateError):
                await self.resume(id)
        with contextlib.suppress(NotFound):
            await self.signal(id, SIGKILL, everyone=True)
        with contextlib.suppress(NotFound, Unavailable):
            await self._channel.call(rpc.TASK_WAIT, tasks_pb2.WaitRequest(container_id=id), timeout_s=KILL_DEADLINE_S)


@dataclass(slots=True)
class _Tasks:
    """A list of tasks. ``slow``: it took so long that a shim cannot have answered."""

    by_id: dict[str, process_pb2.Process]
    slow: bool

    def get(self, id: str) -> process_pb2.Process | None:
        return self.by_id.get(id)


def _require_old(shim: leftovers.Shim) -> None:
    if leftovers.age_s(shim) < YOUNG_SHIM_S:
        text = f"an earlier start of container {shim.id} may still be under way"
        raise Busy(text, kind="Container", name=shim.id, retry_after_s=int(YOUNG_SHIM_S))


def _no_image(image: str) -> NotFound:
    return NotFound(f"image {image} is not unpacked on this node", kind="Image", name=image)
