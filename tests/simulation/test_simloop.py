"""Self test of the simulation loop: what every other simulation relies on."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from setpoint.testing.clock import SimClock
from setpoint.testing.simloop import Deadlock, EscapedSimulation, Livelock, Mode, SimLoop, Unobserved, simulate

BOTH = pytest.mark.parametrize("mode", [Mode.LEGAL, Mode.HOSTILE], ids=lambda mode: mode.value)


async def racing(workers: int = 6, steps: int = 4) -> list[int]:
    """Workers that take turns; the order in which they finish their steps is the loop's choice."""
    order: list[int] = []

    async def worker(number: int) -> None:
        for _ in range(steps):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(worker(i) for i in range(workers)))
    return order


@BOTH
def test_returns_the_answer(mode: Mode) -> None:
    async def main() -> int:
        return 42

    assert simulate(main, mode=mode).value == 42


@BOTH
def test_raises_what_main_raises(mode: Mode) -> None:
    async def main() -> None:
        raise LookupError("x")

    with pytest.raises(LookupError, match="x"):
        simulate(main, mode=mode)


@BOTH
def test_a_year_passes_at_once(mode: Mode) -> None:
    async def main() -> float:
        await asyncio.sleep(365 * 86400)
        return asyncio.get_running_loop().time()

    run = simulate(main, mode=mode)
    assert run.value == run.seconds == 365 * 86400
    assert run.steps < 10


@BOTH
def test_timers_fire_in_time_order(mode: Mode) -> None:
    async def main() -> list[float]:
        fired: list[float] = []

        async def at(seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append(seconds)

        await asyncio.gather(*(at(s) for s in (5, 1, 3, 2, 4)))
        return fired

    assert simulate(main, mode=mode).value == [1, 2, 3, 4, 5]


def test_time_stands_still_while_anything_is_runnable() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(1, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert simulate(main).value == 0


def test_legal_order_is_first_in_first_out() -> None:
    assert simulate(racing, seed=1).value == list(range(6)) * 4


def test_legal_order_does_not_depend_on_the_seed() -> None:
    assert len({simulate(racing, seed=seed).trace for seed in range(5)}) == 1


def test_hostile_order_depends_on_the_seed() -> None:
    assert len({tuple(simulate(racing, seed=seed, mode=Mode.HOSTILE).value) for seed in range(20)}) > 15


@BOTH
def test_same_seed_same_trace(mode: Mode) -> None:
    for seed in range(10):
        first, second = simulate(racing, seed, mode), simulate(racing, seed, mode)
        assert (first.trace, first.value, first.steps) == (second.trace, second.value, second.steps)


def test_hostile_finds_a_lost_update() -> None:
    async def main() -> int:
        count = 0

        async def add() -> None:
            nonlocal count
            seen = count
            await asyncio.sleep(0)
            count = seen + 1

        await asyncio.gather(add(), add())
        return count

    assert {simulate(main, seed, Mode.HOSTILE).value for seed in range(30)} == {1, 2}


def test_facts_change_the_trace() -> None:
    def noting(text: str) -> str:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, SimLoop)
            loop.note(text)

        return simulate(main).trace

    assert noting("a") == noting("a") != noting("b")


def test_time_is_in_the_trace() -> None:
    def sleeping(seconds: float) -> str:
        async def main() -> None:
            await asyncio.sleep(seconds)

        return simulate(main).trace

    assert sleeping(1) != sleeping(2)


@BOTH
def test_deadlock_is_named(mode: Mode) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="the waiter")

    with pytest.raises(Deadlock, match="the waiter"):
        simulate(main, mode=mode)


def test_a_cancelled_timer_is_no_reason_to_wait() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(10, lambda: None).cancel()
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        simulate(main)


def test_endless_spinning_is_a_livelock() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="1000 steps"):
        simulate(main, step_limit=1000)


def test_endless_waiting_is_a_livelock() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(1)

    with pytest.raises(Livelock, match=r"60.* virtual s"):
        simulate(main, time_limit=60)


def test_an_executor_escapes() -> None:
    async def main() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(EscapedSimulation, match="run_in_executor"):
        simulate(main)


def test_a_swallowed_escape_is_still_told() -> None:
    async def main() -> None:
        with suppress(Exception):
            await asyncio.get_running_loop().run_in_executor(None, print)

    with pytest.raises(EscapedSimulation):
        simulate(main)


def test_a_socket_escapes() -> None:
    async def main() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    with pytest.raises(EscapedSimulation, match="create_connection"):
        simulate(main)


def test_a_unix_socket_escapes() -> None:
    async def main() -> None:
        await asyncio.open_unix_connection("/nowhere")

    with pytest.raises(EscapedSimulation):
        simulate(main)


def test_a_process_escapes() -> None:
    async def main() -> None:
        await asyncio.create_subprocess_exec("true")

    with pytest.raises(EscapedSimulation, match="subprocess_exec"):
        simulate(main)


def test_a_signal_handler_escapes() -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(15, print)

    with pytest.raises(EscapedSimulation):
        simulate(main)


def test_a_foreign_thread_escapes() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> None:
            with suppress(EscapedSimulation):
                loop.call_soon_threadsafe(print)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    with pytest.raises(EscapedSimulation, match="thread"):
        simulate(main)


def test_a_failed_task_nobody_asks_is_found() -> None:
    kept: list[asyncio.Task[None]] = []

    async def main() -> None:
        async def fail() -> None:
            raise ValueError("unseen")

        kept.append(asyncio.get_running_loop().create_task(fail(), name="careless"))
        await asyncio.sleep(1)

    with pytest.raises(Unobserved, match=r"careless.*unseen"):
        simulate(main)


def test_a_failed_task_that_was_freed_is_found() -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ValueError("unseen")

        asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(1)
        gc.collect()

    with pytest.raises(Unobserved, match="unseen"):
        simulate(main)


def test_a_failed_task_is_found_among_thousands() -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ValueError("unseen")

        loop = asyncio.get_running_loop()
        loop.create_task(fail(), name="careless")  # noqa: RUF006
        for _ in range(3000):
            await loop.create_task(asyncio.sleep(0))

    with pytest.raises(Unobserved, match=r"careless.*unseen"):
        simulate(main)


def test_a_failing_callback_is_found() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(Unobserved, match="ZeroDivisionError"):
        simulate(main)


def test_a_failure_somebody_saw_is_none() -> None:
    async def main() -> str:
        async def fail() -> None:
            raise ValueError("seen")

        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.wait([task])
        return str(task.exception())

    assert simulate(main).value == "seen"


def test_what_still_runs_at_the_end_is_dropped() -> None:
    async def main() -> str:
        asyncio.get_running_loop().create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        return "over"

    assert simulate(main).value == "over"


@BOTH
def test_timeouts_work(mode: Mode) -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 7)
        return asyncio.get_running_loop().time()

    assert simulate(main, mode=mode).value == 12


@BOTH
def test_task_groups_and_locks_work(mode: Mode) -> None:
    async def main() -> int:
        lock, most, inside = asyncio.Lock(), 0, 0

        async def enter() -> None:
            nonlocal most, inside
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(1)
                inside -= 1

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(enter())
        return most

    run = simulate(main, mode=mode)
    assert (run.value, run.seconds) == (1, 5)


def test_forgotten_async_generators_do_not_escape() -> None:
    async def main() -> int:
        async def numbers():  # type: ignore[no-untyped-def]
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)

        async for number in numbers():
            seen = number
            break
        gc.collect()
        await asyncio.sleep(1)
        return seen

    assert simulate(main).value == 1


def test_the_clock_port_follows_the_loop() -> None:
    async def main() -> tuple[float, float]:
        clock = SimClock()
        wall, start = clock.now(), clock.monotonic()
        await clock.sleep(90)
        await clock.sleep(-1)
        return clock.monotonic() - start, (clock.now() - wall).total_seconds()

    assert simulate(main).value == (90, 90)


def test_garbage_collection_is_put_back() -> None:
    assert gc.isenabled()
    simulate(racing)
    assert gc.isenabled()


def test_it_is_fast() -> None:
    async def main() -> None:
        await racing(100, 500)

    assert simulate(main).steps > 50_000


TWO_PROCESSES = """
import asyncio, sys
from datetime import timedelta
sys.path.insert(0, sys.argv[1])
from engine_scenario import busy_engine
from setpoint.testing.simloop import Mode, simulate
print([simulate(busy_engine(seed), seed, mode).trace for seed in range(5) for mode in Mode])
"""


def test_same_seed_same_trace_in_two_processes_with_other_hash_seeds() -> None:
    here = os.path.dirname(__file__)
    told = [
        subprocess.run(
            [sys.executable, "-c", TWO_PROCESSES, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "4711")
    ]
    assert told[0] == told[1]
    assert len(set(told[0].strip("[]\n").split(", "))) == 10
