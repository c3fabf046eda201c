"""FakeRuntime keeps the contract of Runtime and RuntimeSource."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import pytest

from setpoint.testing.clock import ManualClock, SimClock
from setpoint.testing.fake_programs import Program
from setpoint.testing.fake_runtime import BUSYBOX, Census, FakeRuntime
from setpoint.testing.runtime_contract import RuntimeContract
from setpoint.testing.runtime_rig import NULL, clear, new, run, stopped
from setpoint.testing.simloop import Mode, simulate


class FakeHands:
    def __init__(self, runtime: FakeRuntime) -> None:
        self._runtime = runtime

    async def kill_process(self, id: str) -> None:
        self._runtime.kill_process(id)

    async def starve(self, id: str) -> None:
        self._runtime.kill_for_memory(id)

    async def kill_shim(self, id: str) -> None:
        self._runtime.kill_shim(id)

    async def hang_shim(self, id: str, *, hung: bool) -> None:
        self._runtime.hang_shim(id, hung=hung)

    async def delete_task(self, id: str) -> None:
        self._runtime.delete_task(id)

    async def delete_record(self, id: str) -> None:
        self._runtime.delete_record(id)

    async def drop_snapshot(self, id: str) -> None:
        self._runtime.drop_snapshot(id)

    async def add_foreign(self, id: str) -> None:
        self._runtime.add_foreign(id)


class FakeRig:
    image, chain_id = BUSYBOX

    def __init__(self, clock: ManualClock | SimClock, *, keeps_exits: bool = True) -> None:
        self.keeps_exits = keeps_exits
        self.clock = clock
        self.runtime = FakeRuntime(clock, forgets_on_restart=not keeps_exits)
        self.hands = FakeHands(self.runtime)

    def other(self, engine: str) -> FakeRuntime:
        return self.runtime.sharing(engine)

    def alive(self, pid: int) -> bool:
        running = (task.pid for task in self.runtime.tasks.values() if task.exit is None)
        return pid in running or pid in self.runtime.orphans.values()

    def absent_path(self) -> str:
        self.runtime.absent.add("/nope/data")
        return "/nope/data"

    def appear(self, path: str) -> None:
        self.runtime.absent.discard(path)

    async def leave(self) -> None:
        self.runtime.leave()

    async def come_back(self) -> None:
        self.runtime.come_back()

    async def census(self) -> Census:
        return self.runtime.census()

    async def sleep(self, seconds: float) -> None:
        if isinstance(self.clock, ManualClock):
            await self.clock.run(seconds)
        else:
            await self.clock.sleep(seconds)


@pytest.fixture(params=[True, False], ids=["like-1.6", "like-2.x"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[FakeRig]:
    rig = FakeRig(ManualClock(), keeps_exits=request.param)
    yield rig
    await clear(rig.runtime)


class TestFakeRuntime(RuntimeContract):
    """The whole contract, and below what only the fake has."""


@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.value)
def test_virtual_time(mode: Mode) -> None:
    async def main() -> float:
        rig = FakeRig(SimClock())
        id, _ = await run(rig, ["sleep", "86400"])
        assert await stopped_after(rig, id) >= 86400
        assert (await rig.runtime.reap(id)) is not None
        return rig.clock.monotonic()

    async def stopped_after(rig: FakeRig, id: str) -> float:
        await rig.sleep(86401)
        await stopped(rig, id)
        return rig.clock.monotonic()

    assert simulate(main, 1, mode).value >= 86400


async def test_an_orphan_lives_until_it_is_ended(rig: FakeRig) -> None:
    id, pid = await run(rig)
    rig.runtime.kill_shim(id, orphan=True)
    assert rig.alive(pid)
    await rig.runtime.reap(id, force=True)
    assert not rig.alive(pid)


async def test_a_reboot_leaves_records_only(rig: FakeRig) -> None:
    id, _ = await run(rig)
    rig.runtime.reboot()
    census = rig.runtime.census()
    assert (census.records, census.tasks, census.processes) == ((id,), (), ())
    await rig.runtime.launch(id, NULL)


async def test_programs_of_a_test(rig: FakeRig) -> None:
    made = new(rig, ["server"])
    await rig.runtime.create(made)
    rig.runtime.programs["server"] = Program(runs_s=1.0, code=8)
    await rig.runtime.launch(made.id, NULL)
    await rig.sleep(1.5)
    seen = await stopped(rig, made.id)
    assert seen.exit is not None
    assert seen.exit.code == 8


def test_the_contract_has_its_size() -> None:
    """Both sides run the same class, so they run the same number: that it is a number worth having is checked here."""
    checks = [name for name, _ in inspect.getmembers(RuntimeContract, inspect.isfunction) if name.startswith("test_")]
    assert len(checks) >= 85
