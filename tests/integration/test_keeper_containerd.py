"""The private containerd under a real keeper."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from setpoint.keeper.children import start_time
from setpoint.keeper.containerd import GREETING
from setpoint.keeper.wire import answers
from setpoint.testing.containerd_server import RELEASES, Release
from setpoint.testing.keeper_server import KeeperServer
from setpoint.testing.waiting import eventually
from state.errors import Unavailable

pytestmark = pytest.mark.containerd


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def server(request: pytest.FixtureRequest) -> Iterator[KeeperServer]:
    release: Release = request.param
    if release.missing:
        pytest.skip(release.missing)
    with KeeperServer(containerd=release.binary) as server:
        server.start()
        yield server


def ask_containerd(address: str) -> str:
    """As any client would; empty while there is no answer."""
    done = subprocess.run(["ctr", "-a", address, "version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout if done.returncode == 0 else ""


async def test_none_until_asked_for(server: KeeperServer) -> None:
    assert "containerd" not in server.status()["children"]
    first = await server.client.ensure_containerd()
    assert first.address == str(server.run_dir / "containerd" / "containerd.sock")
    assert first.version.split(".")[0] in ("1", "2")
    assert first.version in ask_containerd(first.address)
    assert await server.client.ensure_containerd() == first


async def test_unneeded_plugins_are_off_and_none_is_broken(server: KeeperServer) -> None:
    address = (await server.client.ensure_containerd()).address
    rows = list_plugins(address)
    assert rows
    assert {row[-1] for row in rows} <= {"ok", "skip"}
    assert not [row for row in rows if "cri" in row[1]]
    assert ["io.containerd.snapshotter.v1", "overlayfs"] in [row[:2] for row in rows]


def list_plugins(address: str) -> list[list[str]]:
    text = subprocess.run(
        ["ctr", "-a", address, "plugins", "ls"], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    return [line.split() for line in text.splitlines()[1:] if line.strip()]


async def test_killed_it_is_back_at_the_same_address(server: KeeperServer) -> None:
    first = await server.client.ensure_containerd()
    started = time.monotonic()
    server.kill("containerd")
    eventually(lambda: server.child("containerd")["pid"] not in (0, first.pid), within_s=5)
    eventually(lambda: ask_containerd(first.address), within_s=5)
    assert time.monotonic() - started < 5
    assert server.child("containerd")["restarts"] == 1
    assert server.child("containerd")["last_exit"] == "signal 9"


async def test_a_killed_keeper_is_followed_by_one_that_adopts_it(server: KeeperServer) -> None:
    first = await server.client.ensure_containerd()
    server.kill_keeper()
    assert ask_containerd(first.address)
    server.start()
    child = server.child("containerd")
    assert (child["pid"], child["adopted"], child["version"]) == (first.pid, True, first.version)
    assert (await server.client.ensure_containerd()).pid == first.pid
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: server.child("containerd")["pid"] not in (0, first.pid), within_s=5)
    eventually(lambda: ask_containerd(first.address), within_s=5)


async def test_one_that_died_with_its_keeper_is_started_again(server: KeeperServer) -> None:
    first = await server.client.ensure_containerd()
    server.kill_keeper()
    os.kill(first.pid, signal.SIGKILL)
    server.start()
    eventually(lambda: ask_containerd(first.address), within_s=5)
    assert server.child("containerd")["pid"] != first.pid


async def test_one_that_cannot_run_is_tried_again_and_told(server: KeeperServer) -> None:
    first = await server.client.ensure_containerd()
    config = server.run_dir / "containerd" / "config.toml"
    good = config.read_bytes()
    config.write_bytes(b"no toml at all [")
    server.kill("containerd")
    eventually(lambda: server.child("containerd")["restarts"] >= 3, within_s=5)
    assert server.child("containerd")["state"] in ("backoff", "running")
    config.write_bytes(good)
    eventually(lambda: ask_containerd(first.address), within_s=8)


async def test_stop_ends_everything(server: KeeperServer) -> None:
    first = await server.client.ensure_containerd()
    keeper = server.status()["pid"]
    await server.client.stop(containerd=True)
    eventually(lambda: not start_time(keeper))
    assert not start_time(first.pid)
    assert not answers(first.address, GREETING)
    with pytest.raises(Unavailable):
        await server.client.status()


async def test_the_program_is_missing() -> None:
    with KeeperServer(containerd="/no/such/containerd") as server:
        server.start()
        with pytest.raises(Unavailable, match="no program '/no/such/containerd' found"):
            await server.client.ensure_containerd()
