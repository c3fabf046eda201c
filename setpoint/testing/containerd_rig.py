"""The runtime contract's rig around a real containerd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from setpoint._pb import containers_pb2, snapshots_pb2, tasks_pb2
from setpoint.drivers.containerd import cgroups, records, rpc
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.images import Descriptor, ImageStore
from setpoint.drivers.containerd.runtime import Containerd
from setpoint.testing.containerd_server import ContainerdServer, Release
from setpoint.testing.fake_runtime import Census
from setpoint.testing.images import REFERENCE, SmallImage, busybox, digest
from setpoint.testing.runtime_rig import CGROUP_PARENT, FOREVER, clear, spec
from state.errors import Unavailable

SNAPSHOTTER = "overlayfs"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


async def load(store: ImageStore, image: SmallImage | None = None) -> str:
    """An image of :mod:`setpoint.testing.images` is on the node and unpacked; returns its chain id."""
    image = image or busybox()
    async with store.leased() as held:
        for blob in (image.layer, image.config_bytes, image.manifest_bytes):
            await held.put_bytes(blob)
        chain = await held.unpack(digest(image.manifest_bytes))
        target = Descriptor(digest(image.manifest_bytes), MANIFEST, len(image.manifest_bytes))
        await held.put(image.reference, target)
    return chain


@contextlib.contextmanager
def serving(release: Release) -> Iterator[ContainerdServer]:
    """As :func:`running`, for tests that bring a loop each; only images are made in it."""
    if release.missing:
        pytest.skip(release.missing)
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        server = ContainerdServer(Path(folder) / "c", release)
        asyncio.run(server.start())
        yield server
        asyncio.run(server.close())


@contextlib.asynccontextmanager
async def running(release: Release) -> AsyncIterator[ContainerdServer]:
    """A server of that release in a folder of its own, and afterwards no trace of it. Skips when it cannot run here."""
    if release.missing:
        pytest.skip(release.missing)
    folder = Path(tempfile.mkdtemp(prefix="sp-c-"))  # short: a socket's path has 107 bytes at most
    server = ContainerdServer(folder / "c", release)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
        remove_cgroups()
        shutil.rmtree(folder)


class RealHands:
    """Through the task service, signals and proc: as an operator on the host would."""

    def __init__(self, server: ContainerdServer, channel: Channel) -> None:
        self._server, self._channel = server, channel

    async def kill_process(self, id: str) -> None:
        reply = await self._channel.call(rpc.TASK_GET, tasks_pb2.GetRequest(container_id=id))
        os.kill(reply.process.pid, signal.SIGKILL)

    async def starve(self, id: str) -> None:
        """Nothing to do: the process itself asks for more than its limit."""

    async def kill_shim(self, id: str) -> None:
        os.kill(self._server.shim(id), signal.SIGKILL)

    async def hang_shim(self, id: str, *, hung: bool) -> None:
        pid = self._server.shim(id)
        os.kill(pid, signal.SIGSTOP if hung else signal.SIGCONT)
        while _stands_still(pid) != hung:  # noqa: ASYNC110  its threads stop one after the other
            await asyncio.sleep(0.001)

    async def delete_task(self, id: str) -> None:
        await self._channel.call(rpc.TASK_KILL, tasks_pb2.KillRequest(container_id=id, signal=9, all=True))
        await self._channel.call(rpc.TASK_WAIT, tasks_pb2.WaitRequest(container_id=id))
        await self._channel.call(rpc.TASK_DELETE, tasks_pb2.DeleteTaskRequest(container_id=id))

    async def delete_record(self, id: str) -> None:
        await self._channel.call(rpc.CONTAINER_DELETE, containers_pb2.DeleteContainerRequest(id=id))

    async def drop_snapshot(self, id: str) -> None:
        request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=SNAPSHOTTER, key=id)
        await self._channel.call(rpc.SNAPSHOT_REMOVE, request)

    async def add_foreign(self, id: str) -> None:
        store = ImageStore(self._channel)
        chain = await store.chain_id((await store.get(REFERENCE)).target.digest)
        container = containers_pb2.Container(
            id=id,
            image=REFERENCE,
            runtime=records.runtime("runc", systemd_cgroup=False),
            spec=records.packed(records.SPEC_TYPE, spec(id, FOREVER)),
            snapshotter=SNAPSHOTTER,
            snapshot_key=id,
        )
        await self._channel.call(rpc.CONTAINER_CREATE, containers_pb2.CreateContainerRequest(container=container))
        prepare = snapshots_pb2.PrepareSnapshotRequest(snapshotter=SNAPSHOTTER, key=id, parent=chain)
        mounts = (await self._channel.call(rpc.SNAPSHOT_PREPARE, prepare)).mounts
        await self._channel.call(rpc.TASK_CREATE, tasks_pb2.CreateTaskRequest(container_id=id, rootfs=mounts))
        await self._channel.call(rpc.TASK_START, tasks_pb2.StartRequest(container_id=id))


def _stands_still(pid: int) -> bool:
    states = [stat.read_text().rsplit(")", 1)[1].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state == "T" for state in states)


class RealRig:
    """One engine on a running server. ``scratch``: a folder for paths that appear."""

    image = REFERENCE

    def __init__(self, server: ContainerdServer, chain_id: str, scratch: Path) -> None:
        self._server, self._scratch = server, scratch
        self._channel = Channel(server.address, server.namespace)
        self._others: list[Channel] = []
        self.chain_id = chain_id
        self.keeps_exits = server.release.config_version == 2
        self.runtime = Containerd(self._channel, "engine-1")
        self.hands = RealHands(server, self._channel)

    def other(self, engine: str) -> Containerd:
        self._others.append(Channel(self._server.address, self._server.namespace))
        return Containerd(self._others[-1], engine)

    def alive(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    def absent_path(self) -> str:
        return str(self._scratch / f"absent-{uuid4()}")

    def appear(self, path: str) -> None:
        Path(path).mkdir()

    async def leave(self) -> None:
        await self._server.kill()

    async def come_back(self) -> None:
        await self._server.start()
        # The connection takes up to half a second to notice; what follows is about what containerd remembers.
        for _ in range(200):
            with contextlib.suppress(Unavailable):
                await self.runtime.look("none")
                return
            await asyncio.sleep(0.02)

    async def census(self) -> Census:
        stream = self._channel.stream(rpc.CONTAINER_LIST, containers_pb2.ListContainersRequest())
        made = sorted([reply.container.id async for reply in stream])
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter=SNAPSHOTTER)
        infos = [info async for reply in self._channel.stream(rpc.SNAPSHOT_LIST, request) for info in reply.info]
        active = sorted(info.name for info in infos if info.kind == snapshots_pb2.ACTIVE)
        tasks = (await self._channel.call(rpc.TASK_LIST, tasks_pb2.ListTasksRequest())).tasks
        processes = [id for id in made if cgroups.processes(cgroups.folders(spec(id, FOREVER)))]
        return Census(tuple(made), tuple(active), tuple(sorted(task.id for task in tasks)), tuple(processes))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Nothing of any engine is left, and the connections are closed."""
        if not self._server.pid:
            await self.come_back()
        for engine in ("engine-1", "engine-2"):
            await clear(self.other(engine))
        await self._end_foreign()
        for channel in (self._channel, *self._others):
            await channel.close()

    async def _end_foreign(self) -> None:
        for id in (await self.census()).records:
            await self.hands.delete_task(id)
            await self.hands.drop_snapshot(id)
            await self.hands.delete_record(id)


def remove_cgroups() -> None:
    """The folders that the contract's containers lived below are gone."""
    for hierarchy in [cgroups.ROOT, *cgroups.ROOT.iterdir()]:
        with contextlib.suppress(OSError):
            (hierarchy / CGROUP_PARENT).rmdir()
