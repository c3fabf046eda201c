"""NetworkNamespaces keeps the contract of Sandboxes on the real kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controllers.container.ports import Sandboxes
from setpoint.drivers import libc, netns
from setpoint.drivers.netns import NetworkNamespaces, is_network_namespace
from setpoint.drivers.paths import mounts_below
from setpoint.testing.node_contract import UID, SandboxesContract
from state.errors import Unavailable

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[NetworkNamespaces]:
    driver = NetworkNamespaces(tmp_path / "netns")
    yield driver
    driver.close()
    for point in mounts_below(str(tmp_path)):
        libc.unmount(point)


class TestNetworkNamespaces(SandboxesContract):
    def identity(self, sandboxes: Sandboxes, uid: str) -> int:
        assert isinstance(sandboxes, NetworkNamespaces)
        path = sandboxes.path(uid)
        return os.stat(path).st_ino if is_network_namespace(path) else 0

    def spoil(self, sandboxes: Sandboxes, uid: str) -> None:
        assert isinstance(sandboxes, NetworkNamespaces)
        libc.unmount(sandboxes.path(uid))


def _homes() -> set[int]:
    """The network namespaces that this program's threads are in."""
    return {os.stat(f"/proc/self/task/{tid}/ns/net").st_ino for tid in os.listdir("/proc/self/task")}


def _inside(path: str, *command: str) -> str:
    entered = ["nsenter", f"--net={path}", *command]
    return subprocess.run(entered, check=True, capture_output=True, text=True, timeout=20).stdout


async def test_only_lo_and_it_is_up(sandboxes: NetworkNamespaces) -> None:
    made = await sandboxes.ensure(UID)
    links = _inside(made.netns, "cat", "/proc/self/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in links] == ["lo"]
    assert "127.0.0.0/8" in _inside(made.netns, "cat", "/proc/self/net/fib_trie")


async def test_the_program_stays_in_its_own_namespace(sandboxes: NetworkNamespaces) -> None:
    before = _homes()
    made = await sandboxes.ensure(UID)
    assert _homes() == before
    assert {os.stat(made.netns).st_ino} != before


@pytest.mark.parametrize("left", ["file", "folder", "link", "own namespace", "other mount", "twice"])
async def test_whatever_is_at_the_pin_is_replaced(sandboxes: NetworkNamespaces, tmp_path: Path, left: str) -> None:
    pin = tmp_path / "netns" / UID
    pin.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    if left == "folder":
        pin.mkdir()
    elif left == "link":
        pin.symlink_to(victim)
    else:
        pin.touch()
    if left == "own namespace":
        libc.mount("/proc/self/ns/net", str(pin), flags=libc.MS_BIND)
    if left in ("other mount", "twice"):
        for _ in range(2):
            libc.mount(str(victim), str(pin), flags=libc.MS_BIND)
    made = await sandboxes.ensure(UID)
    assert is_network_namespace(made.netns)
    assert mounts_below(str(pin)) == [str(pin)]
    assert victim.read_text() == "mine"


async def test_a_thread_that_cannot_come_back_is_replaced(
    sandboxes: NetworkNamespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = _homes()

    def fail(_fd: int, _kind: int) -> None:
        raise OSError(1, "no way back")

    with monkeypatch.context() as patched:
        patched.setattr(netns.libc, "setns", fail)
        with pytest.raises(Unavailable, match="no way back"):
            await sandboxes.ensure(UID)
    made = await sandboxes.ensure("second")
    assert is_network_namespace(made.netns)
    assert _homes() == home


async def test_without_room_it_is_unavailable(sandboxes: NetworkNamespaces, tmp_path: Path) -> None:
    (tmp_path / "netns").write_text("a file where the folder is to be")
    with pytest.raises(Unavailable):
        await sandboxes.ensure(UID)


def _sleeper(path: str) -> subprocess.Popen[bytes]:
    """A process that is in the namespace by the time it is returned."""
    process = subprocess.Popen(["nsenter", f"--net={path}", "sleep", "60"])
    inside = os.stat(path).st_ino
    deadline = time.monotonic() + 10
    while os.stat(f"/proc/{process.pid}/ns/net").st_ino != inside and time.monotonic() < deadline:
        time.sleep(0.005)
    return process


@pytest.mark.skipif(shutil.which("nsenter") is None, reason="needs nsenter")
async def test_release_lets_the_namespace_die_but_not_its_users(sandboxes: NetworkNamespaces, tmp_path: Path) -> None:
    made = await sandboxes.ensure(UID)
    user = _sleeper(made.netns)
    await sandboxes.release(UID)
    assert user.poll() is None
    user.kill()
    user.wait()
    assert os.listdir(tmp_path / "netns") == []
