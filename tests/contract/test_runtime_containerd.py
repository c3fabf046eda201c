"""Containerd keeps the contract of Runtime and RuntimeSource on every release that is tested, and the fake in equal numbers."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.images import ImageStore
from setpoint.testing.containerd_rig import RealRig, load, remove_cgroups
from setpoint.testing.containerd_server import RELEASES, ContainerdServer, Release
from setpoint.testing.runtime_contract import RuntimeContract

pytestmark = [pytest.mark.containerd, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=RELEASES, ids=lambda release: release.name)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ContainerdServer]:
    release: Release = request.param
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


class TestContainerd(RuntimeContract):
    """The whole contract."""


def test_the_contract_has_its_size() -> None:
    checks = [name for name, _ in inspect.getmembers(RuntimeContract, inspect.isfunction) if name.startswith("test_")]
    assert len(checks) >= 85
