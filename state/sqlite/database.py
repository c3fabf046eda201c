"""One database file, its two threads, and group commit.

A writer thread owns the connection that writes, a reader thread one that cannot: a read never waits for an fsync, and the
asyncio loop waits for neither. All writes that are queued when the writer comes round run in one transaction, a savepoint
each, and are answered after its commit. Both threads are daemons; both open their connection again after it failed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from state.errors import InDoubt, StateError, Unavailable
from state.sqlite.errors import Corrupt, NewerSchema, again, primary_code, translated
from state.sqlite.migrations import Schema, connect, prepare

T = TypeVar("T")
_BATCH = 256


class Memory(Protocol):
    """What is kept in memory beside the file, in step with it. Called on the writer thread only."""

    def load(self, connection: Connection) -> None:
        """Reads it; called whenever the file was opened."""

    def mark(self) -> Any:
        """A point to come back to."""

    def reset(self, mark: Any) -> None:
        """Forgets what happened since that point."""

    def flush(self, connection: Connection) -> bool:
        """Last words before the commit; returns whether there is anything to commit."""

    def committed(self) -> None:
        """It is durable."""


class DryRun(Exception):
    """Raised by a job whose value is wanted and whose writes are not."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


@dataclass(slots=True)
class _Job:
    run: Callable[[Connection], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Counters:
    """For witnesses: commits made, and jobs that were answered by them."""

    commits: int = 0
    writes: int = 0


@dataclass(slots=True)
class _Worker:
    """A daemon thread that answers batches of jobs until it is told None."""

    name: str
    answer: Callable[[list[_Job]], None]
    farewell: Callable[[], None]
    batch: int
    queue: SimpleQueue[_Job | None] = field(default_factory=SimpleQueue)
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._loop, name=self.name, daemon=True)
        self.thread.start()

    async def submit(self, run: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        job = _Job(run, loop.create_future(), loop)
        self.queue.put(job)
        result: T = await job.future
        return result

    def _loop(self) -> None:
        while True:
            job = self.queue.get()
            jobs: list[_Job] = []
            while job is not None:
                jobs.append(job)
                if len(jobs) >= self.batch:
                    break
                try:
                    job = self.queue.get_nowait()
                except Empty:
                    break
            if jobs:
                self.answer(jobs)
                _reply(jobs)
            if job is None:
                self.farewell()
                return

    async def stop(self) -> None:
        """What was submitted before is answered first."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        last = self.farewell

        def farewell() -> None:
            last()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        self.farewell = farewell
        self.queue.put(None)
        await ended.wait()
        self.thread.join()


@dataclass(slots=True)
class _Inline:
    """The same without a thread: a job is answered where it is asked for. For simulations, where no thread may be."""

    answer: Callable[[list[_Job]], None]
    farewell: Callable[[], None]

    def start(self) -> None:
        pass

    async def submit(self, run: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        job = _Job(run, loop.create_future(), loop)
        self.answer([job])
        _settle([job])
        await asyncio.sleep(0)
        result: T = await job.future
        return result

    async def stop(self) -> None:
        self.farewell()


class Database:
    """One file. Made by :meth:`open`; use from any number of event loops."""

    def __init__(self, path: Path, schema: Schema, memory: Memory, *, inline: bool = False) -> None:
        self.path = path
        self.counters = Counters()
        self._schema = schema
        self._memory = memory
        self._writing: Connection | None = None
        self._reading: Connection | None = None
        self._broken: StateError | None = None
        self._prepared = False
        self._closed = False
        self._writer: _Worker | _Inline
        self._reader: _Worker | _Inline
        if inline:
            self._writer = _Inline(self._write_batch, self._drop_writing)
            self._reader = _Inline(self._read_batch, self._drop_reading)
        else:
            self._writer = _Worker(f"{path.stem}-write", self._write_batch, self._drop_writing, _BATCH)
            self._reader = _Worker(f"{path.stem}-read", self._read_batch, self._drop_reading, 1)

    async def open(self) -> None:
        """Checks the file, makes or migrates it, loads the memory. Raises Corrupt, NewerSchema, Unavailable."""
        self._writer.start()
        self._reader.start()
        try:
            await self._writer.submit(lambda _: None)
        except BaseException:
            await self.close()
            raise

    async def write(self, run: Callable[[Connection], T]) -> T:
        """Runs it on the writer thread, in a savepoint of its own; returns when what it did is durable."""
        self._check_open()
        return await self._writer.submit(run)

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Runs it on the reader thread, on one snapshot of the file."""
        self._check_open()
        return await self._reader.submit(run)

    async def close(self) -> None:
        """Waits for what was submitted, then gives the file back."""
        if self._closed:
            return
        self._closed = True
        await self._reader.stop()
        await self._writer.stop()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.path} is closed")
        if self._broken:
            raise again(self._broken)

    def _write_batch(self, jobs: list[_Job]) -> None:
        """All in one transaction. An error of the database fails the batch, an error of a job only that job."""
        start: Any = None
        committing = begun = False
        try:
            connection = self._for_writing()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            begun, start = True, self._memory.mark()
            for job in jobs:
                self._run(job, connection)
            if not self._memory.flush(connection):
                connection.exec_driver_sql("ROLLBACK")
                return
            committing = True
            connection.exec_driver_sql("COMMIT")
            self.counters.commits += 1
            self.counters.writes += len(jobs)
            self._memory.committed()
        except Exception as exc:
            error = translated(exc, self.path, committing=committing)
            self._fail(jobs, error)
            if begun:
                self._memory.reset(start)
            self._recover(exc)
            if isinstance(error, InDoubt):
                # if it did happen, those who watch are told now and not with the next write
                with suppress(Exception):
                    self._for_writing()

    def _run(self, job: _Job, connection: Connection) -> None:
        mark = self._memory.mark()
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            job.value = job.run(connection)
        except (DBAPIError, sqlite3.Error, Corrupt):
            raise
        except Exception as exc:
            self._memory.reset(mark)
            connection.exec_driver_sql("ROLLBACK TO job")
            job.value, job.error = (exc.value, None) if isinstance(exc, DryRun) else (None, exc)
        connection.exec_driver_sql("RELEASE job")

    def _fail(self, jobs: Sequence[_Job], error: StateError) -> None:
        for job in jobs:
            job.error = again(error)
        if isinstance(error, (Corrupt, NewerSchema)):
            self._broken = error

    def _recover(self, exc: Exception) -> None:
        """Takes the transaction back; the connection is made anew unless the trouble was only space."""
        if self._writing is None:
            return
        try:
            raw = self._writing.connection.dbapi_connection
            if raw is not None and raw.in_transaction:
                self._writing.exec_driver_sql("ROLLBACK")
        except Exception:
            self._drop_writing()
        if primary_code(exc) != sqlite3.SQLITE_FULL:
            self._drop_writing()

    def _drop_writing(self) -> None:
        _shut(self._writing)
        self._writing = None

    def _drop_reading(self) -> None:
        _shut(self._reading)
        self._reading = None

    def _for_writing(self) -> Connection:
        if self._broken:
            raise self._broken
        if self._writing is None:
            if not self._prepared:
                prepare(self.path, self._schema)
                self._prepared = True
            connection = connect(self.path)
            try:
                self._memory.load(connection)
            except BaseException:
                _shut(connection)
                raise
            self._writing = connection
        return self._writing

    def _read_batch(self, jobs: list[_Job]) -> None:
        for job in jobs:
            try:
                if self._broken:
                    raise self._broken
                if self._reading is None:
                    self._reading = connect(self.path, read_only=True)
                self._reading.exec_driver_sql("BEGIN")
                try:
                    job.value = job.run(self._reading)
                finally:
                    self._reading.exec_driver_sql("COMMIT")
            except Exception as exc:
                job.error = exc if not isinstance(exc, (DBAPIError, sqlite3.Error)) else translated(exc, self.path)
                if isinstance(job.error, Corrupt):
                    self._broken = job.error
                if job.error is not exc:
                    self._drop_reading()


def _shut(connection: Connection | None) -> None:
    if connection is None:
        return
    with suppress(Exception):
        connection.close()
    with suppress(Exception):
        connection.engine.dispose()


def _reply(jobs: Sequence[_Job]) -> None:
    """One wake-up per loop; a loop that is gone needs no answer."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, answered in loops.items():
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, answered)


def _settle(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
