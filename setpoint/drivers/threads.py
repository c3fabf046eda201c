"""Threads that drivers own. All are daemons and none belongs to a pool that waits at exit: a job that hangs for ever delays
neither the loop nor the end of the program. The loop's default executor is never used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from state.errors import Unavailable

T = TypeVar("T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class ThreadSpoiled(Exception):
    """Raised by a job whose thread may not be used again (it sits in a wrong namespace). The caller gets ``cause``; the
    thread ends, jobs that waited are Unavailable, and the next one gets a fresh thread."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class DriverThread:
    """One daemon thread that runs jobs in the order they were given, started with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, job: Callable[..., T], *args: Any) -> T:
        """What ``job(*args)`` returns or raises. Cancelling before it began takes it back; later it runs to its end unheard.

        Raises: Unavailable after ``close``.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise Unavailable(f"the {self._name} thread is closed")
            self._jobs.put((future, lambda: job(*args)))
            if self._thread is None:
                self._start()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Ends the thread after the jobs already given; does not wait for it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"setpoint-{self._name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            if not _perform(*item):
                self._give_up()
                return

    def _give_up(self) -> None:
        """A thread inherits its maker's namespaces, so a spoiled one may not start its successor: the next ``run`` does, and
        the jobs that wait are told to come again."""
        with self._lock:
            self._thread = None
            while not self._jobs.empty():
                item = self._jobs.get()
                if item is not None and item[0].set_running_or_notify_cancel():
                    item[0].set_exception(Unavailable(f"the {self._name} thread was lost, nothing was done"))


def _perform(future: Future[Any], job: Callable[[], Any]) -> bool:
    """Runs one job; False when the thread must not be used again."""
    if not future.set_running_or_notify_cancel():
        return True
    try:
        result = job()
    except ThreadSpoiled as exc:
        future.set_exception(exc.cause)
        return False
    except BaseException as exc:
        future.set_exception(exc)
    else:
        future.set_result(result)
    return True


class DisposableThreads:
    """Runs what may never return (paths of others: a dead NFS mount), each in a thread of its own, with a deadline.

    A job that hangs keeps its thread and one of ``limit`` places until it returns; meanwhile the same question is refused at
    once. A hung path thus costs one thread, however often it is asked for.
    """

    def __init__(self, name: str, limit: int = 16) -> None:
        self._name = name
        self._places = asyncio.Semaphore(limit)
        self._running: dict[str, asyncio.Future[Any]] = {}
        self._hung: set[str] = set()

    @property
    def hung(self) -> frozenset[str]:
        """Keys of the jobs that passed a deadline and still run."""
        return frozenset(self._hung)

    async def run(self, key: str, job: Callable[[], T], deadline_s: float) -> T:
        """What ``job()`` returns or raises. ``key`` names the question: who asks the same while it runs shares its answer.

        Raises: Unavailable when it did not return in ``deadline_s``; it may still go on.
        """
        if key in self._hung:
            raise Unavailable(f"{key} still does not answer")
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(self._running.get(key) or await self._begin(key, job))
        except TimeoutError as exc:
            if key in self._running:
                self._hung.add(key)
            raise Unavailable(f"{key} did not answer in {deadline_s:g} s") from exc

    async def _begin(self, key: str, job: Callable[[], T]) -> asyncio.Future[T]:
        await self._places.acquire()
        if (same := self._running.get(key)) is not None:
            self._places.release()
            return same
        inner: Future[T] = Future()
        thread = threading.Thread(target=_perform, args=(inner, job), name=f"setpoint-{self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            self._places.release()
            raise Unavailable(f"no thread for {key}: {exc}") from exc
        future = asyncio.wrap_future(inner)
        self._running[key] = future
        future.add_done_callback(lambda done: self._ended(key, done))
        return future

    def _ended(self, key: str, future: asyncio.Future[Any]) -> None:
        self._running.pop(key, None)
        self._hung.discard(key)
        self._places.release()
        if not future.cancelled():
            future.exception()  # Read, so that an answer that nobody waits for any more is not reported as lost.
