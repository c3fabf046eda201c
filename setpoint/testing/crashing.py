"""Crashes and faults at every call through a port, without a hook in the code under test.

``World.wrap`` puts a proxy around any port object. Each call gets a number and a name (port.method, object, n-th call), and a
schedule says what becomes of it::

    ok        done
    before    the process is killed before the call        after    ... when it is done, before the answer is heard
    lost      done, but the answer is InDoubt              late     InDoubt now, done some time later
    refused   Unavailable, nothing done                    slow     done after a while
    hang      never answered, nothing done
    drop, twice    an event of a stream is lost, or told twice (``refused`` breaks the stream)

A kill is not an exception: no ``finally`` and no ``except`` of the killed life runs. On a ``SimLoop`` none of its code ever
runs again; on any other loop its calls, and what waits for them, park for ever. The call itself runs outside of the life,
as the other side of a socket does: once begun it goes on, whoever is killed or cancelled meanwhile. A late one that has not
begun when its sender is killed is never done: the connection that it waits on is gone.

What it gets wrong: a call is done whole or not at all (a torn write lies below the ports); calls that do not await
are counted and can be refused but are no crash points, since until the next await nobody else could see the difference.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, cast

from setpoint.testing.faults import OK, Call, Exact, Fault, Schedule, Verdict
from setpoint.testing.life import LIFE, Life
from setpoint.testing.simloop import SimLoop
from state.errors import InDoubt, Unavailable

T = TypeVar("T")


class Killed(asyncio.CancelledError):
    """A dead life called something that does not await, so that it could not be parked. Only at the very end of a run, or
    on a loop that cannot freeze a life."""


@dataclass(slots=True)
class _Line:
    call: Call
    fault: Fault


@dataclass(slots=True)
class World:
    """Everything around the program under test, in which it lives, dies and lives again."""

    schedule: Schedule = field(default_factory=Exact)
    lines: list[_Line] = field(default_factory=list)
    life: Life = field(default_factory=lambda: Life(1))
    _calm_from: int | None = None
    _context: contextvars.Context = field(default_factory=contextvars.copy_context)
    _counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _under_way: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    _parked: list[asyncio.Future[None]] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _streams: dict[Stream, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._context.run(LIFE.set, None)

    # The program.

    def wrap(self, port: str, obj: T, *, numbered: bool = True) -> T:
        """``obj`` behind a proxy that counts as ``port``. ``numbered=False``: calls of the dead park, nothing else is done to
        any (for the clock). Values and properties are passed through."""
        return cast(T, Proxy(self, port, obj, numbered))

    async def live(self, boot: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
        """Runs ``boot()`` as one life. True: it returned. False: it was killed. Raises what it raises."""
        life, over = self.life, asyncio.Event()
        self._over = over
        context = self._context.copy()
        context.run(LIFE.set, life)
        body = asyncio.get_running_loop().create_task(boot(), name=f"life {life.number}", context=context)
        body.add_done_callback(lambda _: over.set(), context=self._context.copy())
        try:
            await over.wait()
        finally:
            if not life.dead and not body.done():
                body.cancel()  # the harness was cancelled: a life does not outlive it
        if life.dead:
            return False
        await body
        return True

    async def survive(self, boot: Callable[[], Coroutine[Any, Any, Any]], *, restart_s: float = 1.0) -> int:
        """Runs ``boot()`` again after every kill until it returns; tells how many lives it took."""
        lives = 1
        while not await self.live(boot):
            lives += 1
            await asyncio.sleep(restart_s)
        return lives

    def kill(self, life: Life | None = None) -> None:
        """SIGKILL, now, for ``life`` (default: the present one) unless it is dead already. What is under way on the other side
        goes on; streams are closed by the other side."""
        if life is not None and life.dead:
            return
        self.life.dead = True
        self.life = Life(self.life.number + 1)
        for stream in list(self._streams):
            stream.abandon()
        self._over.set()

    def calm(self) -> None:
        """No faults from now on."""
        if self._calm_from is None:
            self._calm_from = len(self.lines)

    # What was seen.

    @property
    def calls(self) -> list[Call]:
        return [line.call for line in self.lines]

    @property
    def points(self) -> list[Call]:
        """The calls at which the life could have been killed: those that await and events, before the calm."""
        return [call for call in self.calls[: self._calm_from] if call.kind != "sync"]

    @property
    def kills(self) -> int:
        return self.life.number - 1

    def hits(self) -> Counter[tuple[str, str]]:
        """How often each (site, verdict) came up."""
        return Counter((line.call.site, line.fault.verdict.value) for line in self.lines)

    def count(self, site: str, object: str | None = None) -> int:
        """Calls of a site, for one object or for all."""
        return sum(1 for call in self.calls if call.site == site and object in (None, call.object))

    # For the proxies.

    def judge(self, port: str, method: str, object: str, kind: str, life: Life) -> _Line:
        """Numbers the call and asks the schedule; a verdict that does not fit the kind of call is ``ok``."""
        self._counts[port, method, object] += 1
        call = Call(len(self.lines) + 1, port, method, object, self._counts[port, method, object], life.number, kind)
        fault = OK if self._calm_from is not None else self.schedule.fault(call)
        line = _Line(call, fault if call.fits(fault.verdict) else OK)
        self.lines.append(line)
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimLoop):
            loop.note(f"{call} {line.fault.verdict.value};")
        return line

    def start(self, call: Callable[[], Awaitable[T]], name: str) -> asyncio.Task[T]:
        """Runs a call on the other side: outside of every life, to its end."""

        async def body() -> T:
            return await call()

        task = asyncio.get_running_loop().create_task(body(), name=name, context=self._context.copy())
        self._under_way[task] = None
        task.add_done_callback(self._through, context=self._context.copy())
        return task

    def _through(self, task: asyncio.Task[Any]) -> None:
        del self._under_way[task]
        if not task.cancelled():
            task.exception()  # seen: the caller may be dead

    def listening(self, stream: Stream, *, no_more: bool = False) -> None:
        """A stream of the present life began, or ended."""
        if no_more:
            self._streams.pop(stream, None)
        else:
            self._streams[stream] = None

    async def park(self) -> NoReturn:
        """Never returns, cancelled or not; what waits here is kept referenced, so that no ``finally`` runs."""
        while True:
            parked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._parked.append(parked)
            with suppress(asyncio.CancelledError):
                await parked

    def other_side(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """A call that does not await, outside of every life."""
        return self._context.copy().run(call, *args, **kwargs)


class Proxy:
    """Stands for a port object. See :class:`World`."""

    def __init__(self, world: World, port: str, obj: Any, numbered: bool) -> None:
        self._world = world
        self._port = port
        self._obj = obj
        self._numbered = numbered
        self._life = world.life

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._obj, name)
        if name.startswith("__") or not callable(value):
            return value
        if inspect.iscoroutinefunction(value):
            return self._numbered_async(name, value) if self._numbered else self._plain_async(value)
        return self._sync(name, value)

    def __repr__(self) -> str:
        return f"<{self._port}: {self._obj!r}>"

    def _whose(self) -> Life:
        """The life that calls: the running one by context; else the one in which the proxy was made."""
        return LIFE.get() or self._life

    def _plain_async(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            life = self._whose()
            if life.dead:
                await self._world.park()
            value = await method(*args, **kwargs)
            if life.dead:
                await self._world.park()
            return value

        return call

    def _numbered_async(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            life = self._whose()
            if life.dead:
                await self._world.park()
            line = self._world.judge(self._port, name, object_of(args, kwargs), "async", life)
            try:
                value = await self._perform(line, life, lambda: method(*args, **kwargs))
            except GeneratorExit:
                raise
            except BaseException:
                if life.dead:
                    await self._world.park()
                raise
            if life.dead:
                await self._world.park()
            return value

        return call

    async def _perform(self, line: _Line, life: Life, call: Callable[[], Awaitable[Any]]) -> Any:
        world, fault, name = self._world, line.fault, str(line.call)
        match fault.verdict:
            case Verdict.BEFORE:
                world.kill(life)
                return await world.park()
            case Verdict.REFUSED:
                raise Unavailable(f"injected: {name} was refused")
            case Verdict.HANG:
                await asyncio.Event().wait()
            case Verdict.LATE:
                world.start(lambda: _late(fault.seconds, call, life), name)
                raise InDoubt(f"injected: {name} may still happen")
            case Verdict.SLOW:
                return await asyncio.shield(world.start(lambda: _after(fault.seconds, call), name))
            case Verdict.AFTER:
                return await asyncio.shield(world.start(lambda: self._then_kill(life, call), name))
            case Verdict.LOST:
                await asyncio.shield(world.start(call, name))
                raise InDoubt(f"injected: the answer of {name} was lost")
        return await asyncio.shield(world.start(call, name))

    async def _then_kill(self, life: Life, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        finally:
            self._world.kill(life)

    def _sync(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            life = self._whose()
            if life.dead:
                raise Killed
            if not self._numbered:
                return method(*args, **kwargs)
            line: _Line | None = None
            if not inspect.isasyncgenfunction(method):
                line = self._world.judge(self._port, name, object_of(args, kwargs), "sync", life)
                if line.fault.verdict is Verdict.REFUSED:
                    raise Unavailable(f"injected: {line.call} was refused")
            answer = self._world.other_side(method, *args, **kwargs)
            if hasattr(answer, "__anext__"):
                return Stream(self._world, self._port, name, answer, life)
            if inspect.isawaitable(answer):
                return self._awaited(answer, life)
            return answer

        return call

    async def _awaited(self, answer: Awaitable[Any], life: Life) -> Any:
        value = await answer
        if life.dead:
            await self._world.park()
        return value


async def _after(seconds: float, call: Callable[[], Awaitable[T]]) -> T:
    await asyncio.sleep(seconds)
    return await call()


async def _late(seconds: float, call: Callable[[], Awaitable[Any]], life: Life) -> Any:
    await asyncio.sleep(seconds)
    return None if life.dead else await call()


class Stream:
    """A port's stream of events: each item is a numbered call of kind ``event``. The source runs on the other side and is
    closed when the life that listens ends."""

    def __init__(self, world: World, port: str, method: str, source: AsyncIterator[Any], life: Life) -> None:
        self._world = world
        self._port = port
        self._method = method
        self._source = source
        self._life = life
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._again: list[Any] = []

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self._again:
            return self._again.pop()
        while True:
            await self._ready()
            item = await self._items.get()
            if isinstance(item, BaseException):
                self._items.put_nowait(item)  # a stream that ended has ended for good
                raise item
            line = self._world.judge(self._port, self._method, object_of((item,), {}), "event", self._life)
            match line.fault.verdict:
                case Verdict.DROP:
                    continue
                case Verdict.BEFORE:
                    self._world.kill(self._life)
                    await self._world.park()
                case Verdict.REFUSED:
                    await self.aclose()
                    raise Unavailable(f"injected: the stream broke at {line.call}")
                case Verdict.SLOW:
                    await asyncio.sleep(line.fault.seconds)
                case Verdict.TWICE:
                    self._again.append(item)
            return item

    async def aclose(self) -> None:
        self.abandon()
        self._items.put_nowait(StopAsyncIteration())

    def abandon(self) -> None:
        """The other side notices that nobody listens."""
        if self._pump is not None:
            self._pump.cancel()

    async def _ready(self) -> None:
        if self._life.dead:
            await self._world.park()
        if self._pump is None:
            self._pump = self._world.start(self._copy, f"stream {self._port}.{self._method}")
            self._world.listening(self)

    async def _copy(self) -> None:
        try:
            async for item in self._source:
                self._items.put_nowait(item)
        except Exception as error:
            self._items.put_nowait(error)
        else:
            self._items.put_nowait(StopAsyncIteration())
        finally:
            self._world.listening(self, no_more=True)
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()


def object_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What a call is about: the first argument that is a string, or has a string ``id`` or ``uid``, or is a Key; else empty."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, str):
            return value
        for name in ("id", "uid"):
            found = getattr(value, name, None)
            if isinstance(found, str):
                return found
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return str(value)
    return ""
