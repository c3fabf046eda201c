"""Threads that drivers own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from setpoint.drivers.threads import DisposableThreads, DriverThread, ThreadSpoiled
from state.errors import Unavailable


@pytest.fixture
def thread() -> Iterator[DriverThread]:
    made = DriverThread("test")
    yield made
    made.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_jobs_run_in_order_in_one_daemon_thread(thread: DriverThread) -> None:
    seen: list[tuple[int, threading.Thread]] = []
    await asyncio.gather(*(thread.run(lambda n=n: seen.append((n, threading.current_thread()))) for n in range(20)))
    assert [n for n, _ in seen] == list(range(20))
    assert len({worker for _, worker in seen}) == 1
    assert seen[0][1].daemon


async def test_arguments_results_and_errors_pass(thread: DriverThread) -> None:
    assert await thread.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await thread.run(divmod, 7, 0)
    assert await thread.run(divmod, 7, 7) == (1, 0)


async def test_it_survives_even_the_worst_exceptions(thread: DriverThread) -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await thread.run(leave)
    assert await thread.run(lambda: "alive") == "alive"


async def test_a_job_cancelled_before_its_turn_never_runs(thread: DriverThread, gate: threading.Event) -> None:
    ran: list[str] = []
    first = asyncio.create_task(thread.run(gate.wait))
    second = asyncio.create_task(thread.run(ran.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    await first
    await thread.run(ran.append, "third")
    assert ran == ["third"]


async def test_a_spoiled_thread_is_replaced_by_one_of_another_maker(thread: DriverThread, gate: threading.Event) -> None:
    first = await thread.run(threading.current_thread)

    def spoil() -> None:
        gate.wait()
        raise ThreadSpoiled(OSError("no way back"))

    spoiled = asyncio.create_task(thread.run(spoil))
    waiting = asyncio.create_task(thread.run(lambda: None))
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(OSError, match="no way back"):
        await spoiled
    with pytest.raises(Unavailable, match="lost"):
        await waiting
    second = await thread.run(threading.current_thread)
    assert first is not second
    await asyncio.to_thread(first.join, 5)
    assert not first.is_alive()


async def test_closed_means_unavailable(thread: DriverThread) -> None:
    worker = await thread.run(threading.current_thread)
    thread.close()
    thread.close()
    await asyncio.to_thread(worker.join, 5)
    assert not worker.is_alive()
    with pytest.raises(Unavailable, match="closed"):
        await thread.run(lambda: None)


async def test_a_hung_job_costs_its_deadline_once(gate: threading.Event) -> None:
    threads = DisposableThreads("test")
    before = threading.active_count()
    with pytest.raises(Unavailable, match=r"/dead did not answer in 0\.05 s"):
        await threads.run("/dead", gate.wait, 0.05)
    for _ in range(5):
        with pytest.raises(Unavailable, match="still"):
            await threads.run("/dead", gate.wait, 30)
    assert threading.active_count() == before + 1
    assert threads.hung == {"/dead"}
    assert await threads.run("/alive", lambda: "yes", 5) == "yes"


async def test_a_path_that_comes_back_is_asked_again(gate: threading.Event) -> None:
    threads = DisposableThreads("test")
    with pytest.raises(Unavailable):
        await threads.run("/slow", gate.wait, 0.02)
    gate.set()
    async with asyncio.timeout(5):
        while threads.hung:  # noqa: ASYNC110 - polled: it has no event of its own
            await asyncio.sleep(0.005)
    assert await threads.run("/slow", lambda: "back", 5) == "back"


async def test_the_same_question_is_asked_once(gate: threading.Event) -> None:
    threads = DisposableThreads("test")
    asked: list[str] = []

    def job() -> str:
        asked.append("asked")
        gate.wait()
        return "answer"

    both = [asyncio.create_task(threads.run("/same", job, 10)) for _ in range(2)]
    await asyncio.sleep(0.01)
    gate.set()
    assert await asyncio.gather(*both) == ["answer", "answer"]
    assert asked == ["asked"]


async def test_all_places_taken_is_unavailable_and_not_for_ever(gate: threading.Event) -> None:
    threads = DisposableThreads("test", limit=2)
    for path in ("/a", "/b"):
        with pytest.raises(Unavailable):
            await threads.run(path, gate.wait, 0.01)
    with pytest.raises(Unavailable):
        await threads.run("/c", lambda: "never", 0.02)
    gate.set()
    assert await threads.run("/c", lambda: "now", 5) == "now"


async def test_errors_pass_and_free_the_place() -> None:
    threads = DisposableThreads("test", limit=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run("/x", lambda: 1 // 0, 5)
    assert not threads.hung


def test_a_hung_job_does_not_delay_the_end_of_the_program() -> None:
    program = """
import asyncio, time
from setpoint.drivers.threads import DisposableThreads, DriverThread
from state.errors import Unavailable
async def main():
    asyncio.ensure_future(DriverThread('a').run(time.sleep, 600))
    try:
        await DisposableThreads('b').run('/x', lambda: time.sleep(600), 0.05)
    except Unavailable:
        print('went on')
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "went on\n"
