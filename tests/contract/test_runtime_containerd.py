"""Containerd keeps the contract of Runtime and RuntimeSource on every release that is tested, and the fake in equal numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.images import ImageStore
from setpoint.testing.containerd_rig import RealRig, load, running
from setpoint.testing.containerd_server import RELEASES, ContainerdServer
from setpoint.testing.runtime_contract import RuntimeContract

pytestmark = pytest.mark.containerd


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=RELEASES, ids=lambda release: release.name)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ContainerdServer]:
    async with running(request.param) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chain_id(server: ContainerdServer) -> str:
    channel = Channel(server.address, server.namespace)
    chain = await load(ImageStore(channel))
    await channel.close()
    return chain


@pytest_asyncio.fixture(loop_scope="module")
async def rig(server: ContainerdServer, chain_id: str, tmp_path: Path) -> AsyncIterator[RealRig]:
    rig = RealRig(server, chain_id, tmp_path)
    yield rig
    await rig.close()


@pytest.mark.asyncio(loop_scope="module")
class TestContainerd(RuntimeContract):
    """The whole contract."""
