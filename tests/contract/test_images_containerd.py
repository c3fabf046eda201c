"""NodeImages keeps the contract of Images, on a containerd of the suite's own and a registry on the loopback."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controllers.container.ports import Images
from setpoint.drivers.clock import SystemClock, SystemRandom
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.images import ImageStore
from setpoint.drivers.images.node import NodeImages
from setpoint.drivers.images.pulling import Patience
from setpoint.testing.containerd_rig import serving
from setpoint.testing.containerd_server import RELEASES, ContainerdServer
from setpoint.testing.images import busybox, busybox_archive
from setpoint.testing.node_contract import ImagesContract
from setpoint.testing.registry_server import RegistryServer

pytestmark = pytest.mark.containerd


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.name)
def server(request: pytest.FixtureRequest) -> Iterator[ContainerdServer]:
    """One of each release for all; each test has a namespace of its own in it."""
    with serving(request.param) as made:
        yield made


@pytest.fixture
async def store(server: ContainerdServer) -> AsyncIterator[ImageStore]:
    channel = Channel(server.address, f"test-{uuid.uuid4()}")
    yield ImageStore(channel)
    await channel.close()


@pytest.fixture
async def registry() -> AsyncIterator[RegistryServer]:
    async with RegistryServer() as server:
        server.add("team/there", "1", busybox("there"), index=True)
        yield server


@pytest.fixture
async def images(store: ImageStore, registry: RegistryServer, tmp_path: Path) -> AsyncIterator[NodeImages]:
    node = NodeImages(
        store, tmp_path / "run", tmp_path / "data", SystemClock(), SystemRandom(), patience=Patience(2, 0.01, 5.0)
    )
    archive = busybox_archive(tmp_path / "a.tar", reference="docker.io/library/here:1")
    assert list(await node.load(_stream(archive))) == ["docker.io/library/here:1"]
    yield node
    await node.close()


async def _stream(path: Path) -> AsyncIterator[bytes]:
    content = await asyncio.to_thread(path.read_bytes)
    for at in range(0, len(content), 100_000):
        yield content[at : at + 100_000]


class TestNodeImages(ImagesContract):
    @pytest.fixture
    def names(self, registry: RegistryServer) -> tuple[str, str, str]:
        return "docker.io/library/here:1", f"{registry.domain}/team/there:1", f"{registry.domain}/team/nowhere:1"

    async def settled(self, images: Images, reference: str) -> None:
        assert isinstance(images, NodeImages)
        ended = asyncio.Event()
        images.hooks.changed = lambda name: ended.set() if name == reference else None
        async with asyncio.timeout(20):
            await ended.wait()
