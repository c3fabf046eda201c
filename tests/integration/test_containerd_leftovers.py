"""What crashes leave behind on a real containerd, and who may clean it up; failed starts that only a real runtime has."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from controllers.container.ports import Runtime, RuntimeSource, StartFailed
from setpoint.drivers.containerd import runtime as driver
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.execs import Execs
from setpoint.drivers.containerd.images import ImageStore
from setpoint.drivers.containerd.runtime import Containerd
from setpoint.testing.containerd_rig import RealRig, load, running
from setpoint.testing.containerd_server import RELEASES, ContainerdServer
from setpoint.testing.runtime_rig import NULL, dead, new, run, see, stopped, until, without_task
from state.errors import AlreadyExists, Busy, Conflict, InDoubt, NotFound
from state.objects import Object

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


async def cut_off(rig: RealRig, server: ContainerdServer, folder: Path) -> str:
    """containerd was killed in the middle of a launch, and started again; returns the id."""
    made = new(rig, runtime=str(slow_runc(folder)))
    await rig.runtime.create(made)
    launching = asyncio.create_task(rig.runtime.launch(made.id, NULL))
    await shim_of(server, made.id)
    await until(rig, partial(exists, folder / "called"))
    await server.kill()
    with pytest.raises(InDoubt):
        await launching
    (folder / "slow").unlink()
    await rig.come_back()
    return made.id


def slow_runc(folder: Path) -> Path:
    """runc, but as long as ``folder/slow`` is there a container is in the making for a minute."""
    program = folder / "slow-runc"
    program.write_text(
        f"""#!/bin/sh
case "$*" in *" create "*)
    if [ -e {folder}/slow ]; then touch {folder}/called; sleep 60; fi
esac
exec {shutil.which("runc")} "$@"
"""
    )
    program.chmod(0o755)
    (folder / "slow").touch()
    return program


async def exists(path: Path) -> bool:
    return path.exists()  # noqa: ASYNC240


async def shim_of(server: ContainerdServer, id: str) -> None:
    """There is a shim."""
    while not server.shim(id):  # noqa: ASYNC110  the test's own timeout ends it
        await asyncio.sleep(0.002)


def runc_knows(server: ContainerdServer, id: str) -> bool:
    return Path("/run/containerd/runc", server.namespace, id).exists()


@pytest.mark.asyncio(loop_scope="module")
class TestLeftovers:
    async def test_it_is_what_the_slice_asks_for(self, rig: RealRig) -> None:
        ports: tuple[Runtime, RuntimeSource] = (rig.runtime, rig.runtime)
        assert list(await ports[1].list()) == []

    async def test_the_sweep_ends_a_shim_without_a_task(
        self, rig: RealRig, server: ContainerdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id = await cut_off(rig, server, tmp_path)
        monkeypatch.setattr(driver, "YOUNG_SHIM_S", 0.0)
        expected = [id] if server.shim(id) else []  # 2.x has ended it itself
        assert await rig.runtime.sweep_shims() == expected
        assert not server.shim(id)
        assert rig.alive(await rig.runtime.launch(id, NULL))

    async def test_a_launch_clears_its_way(
        self, rig: RealRig, server: ContainerdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id = await cut_off(rig, server, tmp_path)
        monkeypatch.setattr(driver, "YOUNG_SHIM_S", 0.0)
        pid = await rig.runtime.launch(id, NULL)
        seen = await see(rig, id)
        assert (seen.task, seen.pid) == ("RUNNING", pid)

    async def test_a_young_shim_may_belong_to_somebody(
        self, rig: RealRig, server: ContainerdServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id = await cut_off(rig, server, tmp_path)
        if not rig.keeps_exits:  # 2.x cleans up by itself
            assert rig.alive(await rig.runtime.launch(id, NULL))
            return
        assert await rig.runtime.sweep_shims() == []
        with pytest.raises(Busy):
            await rig.runtime.launch(id, NULL)
        assert server.shim(id)
        monkeypatch.setattr(driver, "YOUNG_SHIM_S", 0.0)
        assert await rig.runtime.sweep_shims() == [id]

    async def test_the_sweep_leaves_what_lives(
        self, rig: RealRig, server: ContainerdServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(driver, "YOUNG_SHIM_S", 0.0)
        await rig.hands.add_foreign("somebody-elses")
        _, pid = await run(rig)
        ended, _ = await run(rig, ["true"])
        await stopped(rig, ended)
        assert await rig.runtime.sweep_shims() == []
        assert rig.alive(pid)
        assert server.shim("somebody-elses")
        assert (await see(rig, ended)).task == "STOPPED"

    @pytest.mark.parametrize("how", ["reap", "launch", "remove"])
    async def test_no_process_lives_on_when_the_runtime_is_gone_too(
        self, rig: RealRig, server: ContainerdServer, tmp_path: Path, how: str
    ) -> None:
        program = tmp_path / "other-runc"
        shutil.copy(str(shutil.which("runc")), program)
        id, pid = await run(rig, ["sh", "-c", "sleep 1000 & sleep 1000"], host_pid=True, runtime=str(program))
        program.rename(tmp_path / "away")
        await rig.hands.kill_shim(id)
        await without_task(rig, id)
        assert rig.alive(pid)
        (tmp_path / "away").rename(program)
        if how == "reap":
            await rig.runtime.reap(id, force=True)
        elif how == "launch":
            assert rig.alive(await rig.runtime.launch(id, NULL))
            await rig.runtime.reap(id, force=True)
        else:
            await rig.runtime.remove(id)
        await dead(rig, pid)
        assert (await rig.census()).processes == ()
        assert not runc_knows(server, id)

    async def test_an_answer_that_is_late_is_in_doubt(self, rig: RealRig, monkeypatch: pytest.MonkeyPatch) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        with monkeypatch.context() as hasty:
            hasty.setattr(driver, "TASK_PATIENCE_S", 0.001)
            with pytest.raises(InDoubt):
                await rig.runtime.launch(made.id, NULL)
            with pytest.raises(AlreadyExists, match="being launched"):
                await rig.runtime.launch(made.id, NULL)
        for _ in range(200):
            if (await see(rig, made.id)).task == "CREATED":
                break
            await asyncio.sleep(0.02)
        await rig.runtime.reap(made.id, force=True)
        assert rig.alive(await rig.runtime.launch(made.id, NULL))

    async def test_a_cancelled_launch_goes_on(self, rig: RealRig, server: ContainerdServer) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        launching = asyncio.create_task(rig.runtime.launch(made.id, NULL))
        await shim_of(server, made.id)
        launching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launching
        for _ in range(200):
            if (await see(rig, made.id)).task == "CREATED":
                break
            await asyncio.sleep(0.02)
        assert (await see(rig, made.id)).task == "CREATED"


@pytest.mark.asyncio(loop_scope="module")
class TestFailedStarts:
    async def test_a_missing_runtime_is_named(self, rig: RealRig) -> None:
        made = new(rig, runtime="/nope/crun")
        await rig.runtime.create(made)
        with pytest.raises(StartFailed) as caught:
            await rig.runtime.launch(made.id, NULL)
        assert (caught.value.code, caught.value.missing) == (128, "/nope/crun")

    async def test_a_missing_shim_is_named(self, rig: RealRig) -> None:
        made = new(rig, runtime="io.containerd.nope.v1")
        await rig.runtime.create(made)
        with pytest.raises(StartFailed) as caught:
            await rig.runtime.launch(made.id, NULL)
        assert caught.value.missing == "io.containerd.nope.v1"

    async def test_a_missing_namespace_is_named(self, rig: RealRig) -> None:
        made = new(rig)
        made.spec["linux"]["namespaces"].append({"type": "network", "path": "/run/none/netns"})
        await rig.runtime.create(made)
        with pytest.raises(StartFailed) as caught:
            await rig.runtime.launch(made.id, NULL)
        assert caught.value.missing == "/run/none/netns"

    async def test_a_file_that_is_no_program(self, rig: RealRig, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("\0\1\2 no program")
        (tmp_path / "text").chmod(0o755)
        made = new(rig, ["/mnt/text"], bind=str(tmp_path))
        await rig.runtime.create(made)
        await rig.runtime.launch(made.id, NULL)  # runc has let go when the kernel refuses: it is an exit
        seen = await stopped(rig, made.id)
        assert seen.exit is not None
        assert seen.exit.code != 0


@pytest.mark.asyncio(loop_scope="module")
class TestManyAndMore:
    async def test_a_namespace_has_one_engine(self, rig: RealRig, server: ContainerdServer) -> None:
        channel = Channel(server.address, "claimed")
        one, two = Containerd(channel, "engine-1"), Containerd(channel, "engine-2")
        await one.claim()
        await one.claim()
        with pytest.raises(Conflict, match="engine-1"):
            await two.claim()
        await channel.close()

    async def test_a_namespace_that_is_there_is_claimed(self, rig: RealRig) -> None:
        await rig.runtime.claim()
        with pytest.raises(Conflict):
            await rig.other("engine-2").claim()

    async def test_more_records_than_fit_in_one_message(self, rig: RealRig) -> None:
        made = [new(rig, declaration={"text": "x" * 200_000}) for _ in range(100)]
        await asyncio.gather(*(rig.runtime.create(each) for each in made))
        assert len(await rig.runtime.list()) == 100

    async def test_exec(self, rig: RealRig, server: ContainerdServer) -> None:
        id, _ = await run(rig)
        channel = Channel(server.address, server.namespace)
        execs = Execs(channel)
        pid = await execs.start(id, "e1", process("sh", "-c", "exit 4"), NULL)
        assert pid > 0
        assert await execs.wait(id, "e1") == 4
        assert await execs.delete(id, "e1") == 4
        assert await execs.delete(id, "e1") == 0
        await channel.close()

    @pytest.mark.parametrize(("word", "code"), [("nope", 127), ("/etc/passwd", 126), ("/nope/x", 127)])
    async def test_exec_that_cannot_run(self, rig: RealRig, server: ContainerdServer, word: str, code: int) -> None:
        id, _ = await run(rig)
        channel = Channel(server.address, server.namespace)
        execs = Execs(channel)
        for _ in range(2):  # nothing of the first is in the way of the second
            with pytest.raises(StartFailed) as caught:
                await execs.start(id, "e1", process(word), NULL)
            assert caught.value.code == code
        await channel.close()

    async def test_exec_is_killed_alone(self, rig: RealRig, server: ContainerdServer) -> None:
        id, pid = await run(rig)
        channel = Channel(server.address, server.namespace)
        execs = Execs(channel)
        await execs.start(id, "e1", process("sleep", "1000"), NULL)
        await execs.kill(id, "e1", signal.SIGKILL)
        assert await execs.wait(id, "e1") == 137
        await execs.delete(id, "e1")
        assert rig.alive(pid)
        with pytest.raises(NotFound):
            await execs.kill(id, "e1", signal.SIGKILL)
        await channel.close()

    async def test_exec_in_nothing(self, server: ContainerdServer, rig: RealRig) -> None:
        made = new(rig)
        await rig.runtime.create(made)
        channel = Channel(server.address, server.namespace)
        execs = Execs(channel)
        with pytest.raises(NotFound):
            await execs.start(made.id, "e1", process("true"), NULL)
        with pytest.raises(NotFound):
            await execs.wait(made.id)
        await channel.close()

    async def test_wait_for_the_task_itself(self, rig: RealRig, server: ContainerdServer) -> None:
        id, pid = await run(rig)
        channel = Channel(server.address, server.namespace)
        waiting = asyncio.create_task(Execs(channel).wait(id))
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.wait_for(waiting, 5) == 137
        await channel.close()


def process(*args: str) -> Object:
    return {"args": list(args), "cwd": "/", "env": ["PATH=/usr/bin:/bin"], "user": {"uid": 0, "gid": 0}}
