"""The crashing world: each verdict, and that a killed life leaves no trace but what it had done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from setpoint.testing.clock import SimClock
from setpoint.testing.crashing import World, object_of
from setpoint.testing.faults import Drawn, Exact, Fault, Named, Verdict
from setpoint.testing.simloop import Deadlock, simulate
from state.errors import InDoubt, NotFound, Unavailable
from state.objects import Key


@dataclass(frozen=True)
class Thing:
    id: str


class Shelf:
    """A port object: some calls that await, some that do not, a stream and a value."""

    colour = "red"

    def __init__(self) -> None:
        self.things: list[str] = []
        self.closed_streams = 0
        self.subscribers = 0

    async def put(self, name: str, *, takes: float = 0.0) -> int:
        await asyncio.sleep(takes)
        self.things.append(name)
        return len(self.things)

    async def take(self, thing: Thing) -> None:
        if thing.id not in self.things:
            raise NotFound(thing.id)
        self.things.remove(thing.id)

    def peek(self) -> int:
        return len(self.things)

    def order(self, name: str) -> None:
        asyncio.get_running_loop().create_task(self.put(name, takes=5), name="delivery")

    async def changes(self) -> AsyncIterator[Thing]:
        self.subscribers += 1
        try:
            yield Thing("")
            for number in range(100):
                await asyncio.sleep(1)
                yield Thing(f"t{number}")
        finally:
            self.subscribers -= 1


Body = Callable[[World, Shelf, Shelf], Awaitable[Any]]


def world_of(*faults: tuple[int, Verdict], seconds: float = 1.0) -> World:
    return World(Exact({number: Fault(verdict, seconds) for number, verdict in faults}))


def run(world: World, body: Body) -> Shelf:
    """Runs ``body(world, proxy, shelf)``; answers the shelf."""
    shelf = Shelf()

    async def main() -> None:
        await body(world, world.wrap("shelf", shelf), shelf)

    simulate(main)
    return shelf


def test_without_faults_it_is_not_there() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        assert await port.put("a") == 1
        await port.take(Thing("a"))
        with pytest.raises(NotFound):
            await port.take(Thing("a"))
        assert port.peek() == 0
        assert port.colour == "red"

    world = world_of()
    run(world, body)
    assert [str(call) for call in world.calls] == [
        "1 shelf.put(a)#1",
        "2 shelf.take(a)#1",
        "3 shelf.take(a)#2",
        "4 shelf.peek()#1",
    ]
    assert world.count("shelf.take") == 2
    assert world.count("shelf.take", "b") == 0


def test_refused_does_nothing() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(Unavailable, match=r"1 shelf\.put"):
            await port.put("a")
        assert await port.put("b") == 1

    assert run(world_of((1, Verdict.REFUSED)), body).things == ["b"]


def test_lost_is_done_and_in_doubt() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(InDoubt):
            await port.put("a")
        assert shelf.things == ["a"]

    run(world_of((1, Verdict.LOST)), body)


def test_lost_does_not_hide_an_error() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(NotFound):
            await port.take(Thing("a"))

    run(world_of((1, Verdict.LOST)), body)


def test_late_is_in_doubt_and_done_afterwards() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(InDoubt):
            await port.put("a")
        assert shelf.things == []
        await asyncio.sleep(11)
        assert shelf.things == ["a"]

    run(world_of((1, Verdict.LATE), seconds=10), body)


def test_slow_takes_its_time() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        assert await port.put("a") == 1
        assert asyncio.get_running_loop().time() == 7

    run(world_of((1, Verdict.SLOW), seconds=7), body)


def test_hang_does_nothing_and_can_be_cancelled() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await port.put("a")

    assert run(world_of((1, Verdict.HANG)), body).things == []


def test_cancelling_the_caller_does_not_stop_the_call() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await port.put("a", takes=5)
        await asyncio.sleep(5)
        assert shelf.things == ["a"]

    run(world_of(), body)


@pytest.mark.parametrize(("verdict", "things"), [(Verdict.BEFORE, []), (Verdict.AFTER, ["a"])], ids=["before", "after"])
def test_a_kill_runs_nothing_of_the_life_any_more(verdict: Verdict, things: list[str]) -> None:
    ran: list[str] = []

    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        async def beside() -> None:
            try:
                await asyncio.sleep(5)
            finally:
                ran.append("the task beside it")

        async def boot() -> None:
            kept = asyncio.get_running_loop().create_task(beside())
            asyncio.get_running_loop().call_later(3, ran.append, "a timer")
            try:
                async with asyncio.timeout(2):
                    await port.put("a")
            except BaseException:
                ran.append("except")
            finally:
                ran.append("finally")
                await port.take(Thing("a"))
            await kept

        assert not await world.live(boot)
        await asyncio.sleep(100)
        assert not ran
        assert shelf.things == things

    run(world_of((1, verdict)), body)


def test_an_exception_would_have_hidden_the_leak() -> None:
    """Why a crash is parked: an exception runs the tidying up that SIGKILL skips."""

    async def create(port: Shelf) -> None:
        await port.put("half made")
        try:
            await port.put("other half")
        except BaseException:
            await port.take(Thing("half made"))
            raise

    async def refused(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(Unavailable):
            await create(port)
        assert shelf.things == []

    async def killed(world: World, port: Shelf, shelf: Shelf) -> None:
        assert not await world.live(lambda: create(port))
        assert shelf.things == ["half made"]

    run(world_of((2, Verdict.REFUSED)), refused)
    run(world_of((2, Verdict.BEFORE)), killed)


def test_calls_under_way_outlive_their_caller() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        async def boot() -> None:
            slow = asyncio.get_running_loop().create_task(port.put("slow", takes=5))
            await asyncio.sleep(1)
            await port.put("b")
            await slow

        assert not await world.live(boot)
        assert shelf.things == []
        await asyncio.sleep(10)
        assert shelf.things == ["slow"]

    run(world_of((2, Verdict.BEFORE)), body)


def test_what_a_call_started_outlives_the_caller() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        async def boot() -> None:
            port.order("pizza")
            await port.put("b")

        assert not await world.live(boot)
        await asyncio.sleep(10)
        assert shelf.things == ["pizza"]

    run(world_of((2, Verdict.BEFORE)), body)


def test_the_next_life_can_do_what_the_last_could_not() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        async def boot() -> None:
            if not port.peek():
                await port.put("a")
            await port.put("b")

        assert await world.survive(boot, restart_s=2) == 3
        assert shelf.things == ["a", "b"]
        assert asyncio.get_running_loop().time() == 4
        assert [call.life for call in world.calls] == [1, 1, 2, 2, 3, 3]
        assert world.kills == 2

    run(world_of((2, Verdict.AFTER), (4, Verdict.BEFORE)), body)


def test_what_a_life_raises_is_raised() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(NotFound):
            await world.survive(lambda: port.take(Thing("x")))

    run(world_of(), body)


def test_cancelling_the_harness_ends_the_life_in_order() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        ended = asyncio.Event()

        async def boot() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        living = asyncio.get_running_loop().create_task(world.survive(boot))
        await asyncio.sleep(1)
        living.cancel()
        await ended.wait()

    run(world_of(), body)


def test_a_failure_that_only_the_dead_could_have_seen_is_none() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        async def fail() -> None:
            await asyncio.sleep(0)
            raise ValueError("nobody is there to see it")

        async def boot() -> None:
            failing = asyncio.get_running_loop().create_task(fail())
            await port.put("a", takes=1)
            await failing

        assert not await world.live(boot)

    run(world_of((1, Verdict.AFTER)), body)


def test_outside_of_any_life_a_killed_caller_just_never_returns() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        await port.put("a")

    with pytest.raises(Deadlock):
        run(world_of((1, Verdict.BEFORE)), body)


async def test_on_an_ordinary_loop_the_dead_park_even_when_cancelled() -> None:
    world, shelf, ran = world_of((1, Verdict.AFTER)), Shelf(), []
    port = world.wrap("shelf", shelf)

    async def boot() -> None:
        try:
            await port.put("a")
        finally:
            ran.append("finally")

    task = asyncio.create_task(boot())
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    await asyncio.wait([task], timeout=0.05)
    assert not task.done()
    assert not ran
    assert shelf.things == ["a"]
    again = asyncio.create_task(port.put("b"))  # the proxy belongs to the dead
    await asyncio.wait([again], timeout=0.05)
    assert not again.done()
    assert await world.wrap("shelf", shelf).put("c") == 2
    task.get_coro().close()  # type: ignore[union-attr]
    again.get_coro().close()  # type: ignore[union-attr]


def listening(port: Shelf, until: int) -> Callable[[], Awaitable[list[str]]]:
    async def listen() -> list[str]:
        seen = []
        async for thing in port.changes():
            seen.append(thing.id)
            if len(seen) == until:
                break
        return seen

    return listen


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ((), ["", "t0", "t1", "t2"]),
        (((3, Verdict.DROP),), ["", "t0", "t2", "t3"]),
        (((2, Verdict.TWICE),), ["", "t0", "t0", "t1"]),
        (((1, Verdict.DROP), (2, Verdict.LOST)), ["", "t0", "t1", "t2"]),
    ],
    ids=["whole", "drop", "twice", "unfitting"],
)
def test_events(faults: tuple[tuple[int, Verdict], ...], expected: list[str]) -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        assert await listening(port, 4)() == expected

    run(world_of(*faults), body)


def test_a_stream_breaks_and_closes_its_source() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        stream = port.changes()
        assert (await anext(stream)).id == ""
        assert shelf.subscribers == 1
        with pytest.raises(Unavailable, match="broke"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await asyncio.sleep(0)
        assert shelf.subscribers == 0

    run(world_of((2, Verdict.REFUSED)), body)


def test_a_kill_at_an_event_closes_the_source() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        assert not await world.live(listening(port, 9))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert shelf.subscribers == 0
        assert asyncio.get_running_loop().time() == 2

    run(world_of((3, Verdict.BEFORE)), body)


def test_an_error_of_the_source_comes_through_and_stays() -> None:
    class Broken:
        async def events(self) -> AsyncIterator[Thing]:
            yield Thing("a")
            raise Unavailable("gone")

    async def main() -> None:
        stream = World().wrap("broken", Broken()).events()
        await anext(stream)
        for _ in range(2):
            with pytest.raises(Unavailable, match="gone"):
                await anext(stream)

    simulate(main)


def test_calls_that_do_not_await_can_be_refused() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(Unavailable):
            port.peek()
        port.peek()

    run(world_of((1, Verdict.REFUSED), (2, Verdict.BEFORE)), body)


def test_the_clock_is_not_numbered_but_dies() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        clock, ran = world.wrap("clock", SimClock(), numbered=False), []

        async def boot() -> None:
            clock.monotonic()
            await clock.sleep(1)
            await port.put("a")
            ran.append(await clock.sleep(1))

        assert not await world.live(boot)
        await asyncio.sleep(5)
        assert not ran
        assert len(world.calls) == 1

    run(world_of((1, Verdict.AFTER)), body)


def test_calm_ends_the_faults() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        with pytest.raises(Unavailable):
            await port.put("a")
        world.calm()
        await port.put("a")

    run(World(Drawn(1, rate=1, verdicts=[Verdict.REFUSED])), body)


def test_named_means_the_first_calls_of_a_site() -> None:
    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        port.peek()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await port.put("a")
        await port.put("a")

    run(World(Named({"shelf.put": Fault(Verdict.REFUSED)}, times=2)), body)


def test_drawn_switches_half_of_the_faults_off_and_bounds_the_kills() -> None:
    sets = {frozenset(Drawn(seed).verdicts) for seed in range(50)}
    assert {len(found) for found in sets} == {5}
    assert len(sets) > 30

    async def body(world: World, port: Shelf, shelf: Shelf) -> None:
        async def boot() -> None:
            for _ in range(50):
                await port.put("a")

        assert await world.survive(boot) == 4

    run(World(Drawn(1, rate=1, verdicts=[Verdict.BEFORE], kills=3)), body)


def test_every_verdict_comes_up() -> None:
    seen: set[str] = set()
    for seed in range(60):

        async def body(world: World, port: Shelf, shelf: Shelf) -> None:
            async def one() -> None:
                try:
                    async with asyncio.timeout(60):
                        await port.put("a")
                except (Unavailable, InDoubt, TimeoutError):
                    pass

            async def boot() -> None:
                for _ in range(10):
                    await one()
                    with suppress(Unavailable):
                        await listening(port, 3)()

            await world.survive(boot)

        world = World(Drawn(seed, rate=0.3))
        run(world, body)
        seen |= {verdict for _, verdict in world.hits()}
    assert seen == {verdict.value for verdict in Verdict}


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (("a", "b"), {}, "a"),
        ((Thing("x"),), {}, "x"),
        ((5, Key("Thing", "ns", "n")), {}, "Thing/ns/n"),
        ((), {"id": "k"}, "k"),
        ((7, b"x"), {}, ""),
    ],
    ids=["string", "id", "key", "keyword", "none"],
)
def test_what_a_call_is_about(args: tuple[Any, ...], kwargs: dict[str, Any], expected: str) -> None:
    assert object_of(args, kwargs) == expected
