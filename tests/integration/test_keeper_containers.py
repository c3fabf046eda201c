"""Real containers under a private containerd, their output through the real pump, while everything around them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controllers.container.ports import ImageInfo, Instance, LogWish, NewInstance
from setpoint.drivers.clock import SystemClock, SystemRandom
from setpoint.drivers.containerd import leftovers
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.execs import Execs
from setpoint.drivers.containerd.images import ImageStore
from setpoint.drivers.containerd.runtime import Containerd
from setpoint.drivers.images.node import NodeImages
from setpoint.drivers.logs import LogLine, read_log
from setpoint.testing.containerd_server import RELEASES, Release
from setpoint.testing.images import busybox_archive
from setpoint.testing.keeper_server import KeeperServer
from setpoint.testing.waiting import eventually
from state.errors import StateError

pytestmark = pytest.mark.containerd

REFERENCE = "docker.io/library/here:1"
UID = "6b0f7e55-1f0a-4c5e-9d5e-0123456789ab"
WISH = LogWish(uid=UID, id="6b0f7e551f0a4c5e9d5e0123456789ab-1", namespace="default", name="web")


@dataclass
class Node:
    """A keeper, its containerd and an image; ``run`` starts the one container."""

    server: KeeperServer
    runtime: Containerd
    execs: Execs
    image: ImageInfo

    async def run(self, *args: str, wish: LogWish = WISH) -> None:
        await self.runtime.create(
            NewInstance(
                id=wish.id,
                uid=wish.uid,
                revision=1,
                namespace=wish.namespace,
                name=wish.name,
                image=REFERENCE,
                chain_id=self.image.chain_id,
                spec=_spec(args, terminal=wish.terminal),
            )
        )
        await self.runtime.launch(wish.id, await self.server.pump.open(wish))

    async def exit(self) -> Instance:
        """The instance, once its process has ended."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(StateError):
                    found = await self.runtime.look(WISH.id)
                    if found is not None and found.task == "STOPPED":
                        return found
                await asyncio.sleep(0.02)

    async def lines(self) -> list[LogLine]:
        async with asyncio.timeout(10):
            while (await self.server.pump.stats())["containers"][UID]["open"]:  # noqa: ASYNC110 another process has no event
                await asyncio.sleep(0.01)
        return [line async for line in read_log(self.server.data_dir, "default", "web", UID)]


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    release: Release = request.param
    if release.missing:
        pytest.skip(release.missing)
    with KeeperServer(containerd=release.binary) as server:
        server.start()
        private = await server.client.ensure_containerd()
        channel = Channel(private.address)
        images = NodeImages(ImageStore(channel), tmp_path / "run", tmp_path / "data", SystemClock(), SystemRandom())
        archive = busybox_archive(tmp_path / "a.tar", reference=REFERENCE)
        await images.load(_stream(archive))
        runtime = Containerd(channel, "test-engine")
        try:
            yield Node(server, runtime, Execs(channel), await images.resolve(REFERENCE))
        finally:
            with contextlib.suppress(StateError):
                await runtime.reap(WISH.id, force=True)
                await runtime.remove(WISH.id)
            for shim in leftovers.shims("setpoint", private.address):
                os.kill(shim.pid, signal.SIGKILL)
            await images.close()
            await channel.close()
            await server.pump.disconnect()


async def _stream(path: Path) -> AsyncIterator[bytes]:
    yield await asyncio.to_thread(path.read_bytes)


def _spec(args: tuple[str, ...], *, terminal: bool) -> dict[str, object]:
    return {
        "ociVersion": "1.0.2",
        "process": {"args": list(args), "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "terminal": terminal},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "network")],
            "cgroupsPath": f"/setpoint-test/{WISH.id}",
        },
    }


async def test_output_of_both_streams_and_the_exit(node: Node) -> None:
    await node.run("/bin/sh", "-c", "echo out; echo err >&2; printf rest; exit 7")
    found = await node.exit()
    assert found.exit is not None
    assert (found.exit.code, found.exit.true) == (7, True)
    lines = await node.lines()
    assert sorted((line.stream, line.partial, line.text) for line in lines) == [
        ("stderr", False, b"err"),
        ("stdout", False, b"out"),
        ("stdout", True, b"rest"),
    ]


async def test_a_terminal_is_one_stream(node: Node) -> None:
    await node.run("/bin/sh", "-c", "echo out; echo err >&2", wish=replace(WISH, terminal=True, stdin=True))
    await node.exit()
    assert [(line.stream, line.text) for line in await node.lines()] == [("stdout", b"out\r"), ("stdout", b"err\r")]


async def test_no_container_notices_what_dies_around_it(node: Node) -> None:
    """containerd, pump and keeper are killed while it prints; it ends with its true exit code and a whole log."""
    count = 60_000
    await node.run("/bin/sh", "-c", f"i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); done; exit 3")
    server = node.server
    size = server.data_dir / "logs" / f"default_web_{UID}" / "1.log"
    eventually(lambda: size.stat().st_size > 100_000)
    server.kill("containerd")
    pump = server.kill("pump")
    eventually(lambda: server.child("pump")["pid"] not in (0, pump), within_s=2)
    server.kill_keeper()
    server.start()
    found = await node.exit()
    assert found.exit is not None
    assert (found.exit.code, found.exit.true) == (3, True)
    texts = [line.text.decode() for line in await node.lines()]
    marks = [text for text in texts if "the log pump was restarted" in text]
    numbers = [int(text) for text in texts if text.isdigit()]
    assert len(marks) == 1, "of a stream that printed nothing, nothing is missing"
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == count - 1
    assert sum(len(f"{number}\n") for number in set(range(count)) - set(numbers)) <= 64 << 10


async def test_attach_talks_to_the_process(node: Node) -> None:
    await node.run("/bin/cat", wish=replace(WISH, stdin=True))
    stream = await node.server.pump.attach(UID, stdin=True)
    await stream.write(b"hello\n")
    assert await asyncio.wait_for(stream.read(), 5) == ("stdout", b"hello\n")
    await node.server.client.upgrade_pump()
    assert (await node.runtime.look(WISH.id)).task == "RUNNING"  # type: ignore[union-attr]
    again = await node.server.pump.attach(UID, stdin=True)
    await again.write(b"still there\n")
    assert await asyncio.wait_for(again.read(), 5) == ("stdout", b"still there\n")
    await again.close_stdin()
    await node.execs.close_io(WISH.id)
    found = await node.exit()
    assert found.exit is not None
    assert found.exit.code == 0
    assert await asyncio.wait_for(again.read(), 5) is None
    await again.close()
    await stream.close()
    assert [line.text for line in await node.lines()] == [b"hello", b"still there"]
