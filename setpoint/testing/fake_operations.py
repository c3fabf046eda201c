"""Scripted :class:`setpoint.api.operations.Operations` for tests of the API and of its clients.

What it gets wrong: no container runs. A session prints what it was scripted to, echoes its stdin when told to, and ends with
the code that it was given; logs are the lines that a test put there; images are names in a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from setpoint.api.operations import (
    AttachRequest,
    Check,
    ExecRequest,
    ImageRow,
    LogRequest,
    ObjectPlan,
    Operations,
    Orphan,
    PullProgress,
    Stream,
    StreamSession,
)
from state.errors import Conflict, NotFound, StateError
from state.objects import Key, Object


class FakeSession:
    """``output`` is read first; then, with ``echo``, stdin until its end; then the code is told."""

    def __init__(self, output: Sequence[tuple[Stream, bytes]] = (), *, code: int = 0, echo: bool = False) -> None:
        self._frames: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue()
        for frame in output:
            self._frames.put_nowait(frame)
        if not echo:
            self._frames.put_nowait(None)
        self._echo = echo
        self._code = code
        self.stdin = b""
        self.stdin_closed = False
        self.sizes: list[tuple[int, int]] = []
        self.closed = asyncio.Event()

    async def read(self) -> tuple[Stream, bytes] | None:
        return await self._frames.get()

    async def write(self, data: bytes) -> None:
        self.stdin += data
        if self._echo:
            self._frames.put_nowait(("stdout", data))

    async def close_stdin(self) -> None:
        if not self.stdin_closed:
            self.stdin_closed = True
            self._frames.put_nowait(None)

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def wait(self) -> int:
        return self._code

    async def close(self) -> None:
        self.closed.set()


@dataclass
class FakeContainers:
    """Records what was asked."""

    sessions: list[StreamSession] = field(default_factory=list)
    """Given out in order."""
    lines: list[bytes] = field(default_factory=list)
    failure: StateError | None = None
    """Raised by every method while set."""
    killed: list[tuple[Key, int]] = field(default_factory=list)
    execs: list[tuple[Key, ExecRequest]] = field(default_factory=list)
    attaches: list[tuple[Key, AttachRequest]] = field(default_factory=list)
    log_requests: list[LogRequest] = field(default_factory=list)
    following: int = 0
    """Log streams that are open now."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a log stream was closed."""

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def kill(self, key: Key, signal: int) -> None:
        self._fail()
        self.killed.append((key, signal))

    async def why(self, key: Key) -> Object:
        self._fail()
        return {"key": str(key), "next": "nothing"}

    async def exec(self, key: Key, request: ExecRequest) -> StreamSession:
        self._fail()
        self.execs.append((key, request))
        return self.sessions.pop(0)

    async def exec_detached(self, key: Key, request: ExecRequest) -> int:
        self._fail()
        self.execs.append((key, request))
        return 4711

    async def attach(self, key: Key, request: AttachRequest) -> StreamSession:
        self._fail()
        self.attaches.append((key, request))
        return self.sessions.pop(0)

    async def logs(self, key: Key, request: LogRequest) -> AsyncIterator[bytes]:
        self._fail()
        self.log_requests.append(request)
        self.following += 1
        try:
            for line in self.lines:
                yield line
            if request.follow:
                await asyncio.Event().wait()
        finally:
            self.following -= 1
            self.left.set()


@dataclass
class FakeImages:
    """References, and archives that are taken as the name of what they hold."""

    rows: dict[str, ImageRow] = field(default_factory=dict)
    loaded_bytes: int = 0
    pull_failure: StateError | None = None

    async def list(self) -> Sequence[ImageRow]:
        return tuple(self.rows.values())

    async def load(self, archive: AsyncIterator[bytes]) -> Sequence[str]:
        async for chunk in archive:
            self.loaded_bytes += len(chunk)
        self.rows["loaded:latest"] = ImageRow("loaded:latest", "sha256:" + "0" * 64, self.loaded_bytes, "2026-01-01T00:00:00Z")
        return ("loaded:latest",)

    async def remove(self, reference: str) -> None:
        row = self.rows.get(reference)
        if row is None:
            raise NotFound(f"no image {reference}")
        if row.used_by:
            raise Conflict(f"{reference} is used by {', '.join(row.used_by)}")
        del self.rows[reference]

    async def pull(self, reference: str, credentials: Object | None) -> AsyncIterator[PullProgress]:
        yield PullProgress("resolving")
        if self.pull_failure is not None:
            raise self.pull_failure
        yield PullProgress("fetching", 50, 100)
        yield PullProgress("done", 100, 100, reference, "sha256:" + "1" * 64)


@dataclass
class FakeOrphans:
    """By id."""

    rows: dict[str, Orphan] = field(default_factory=dict)

    async def list(self) -> Sequence[Orphan]:
        return tuple(self.rows.values())

    async def adopt(self, id: str) -> Key:
        orphan = self._take(id)
        return Key("Container", orphan.namespace, orphan.name)

    async def remove(self, id: str) -> None:
        self._take(id)

    def _take(self, id: str) -> Orphan:
        if id not in self.rows:
            raise NotFound(f"no orphan {id}")
        return self.rows.pop(id)


@dataclass
class FakeNode:
    """Answers what a test put in."""

    checks: list[Check] = field(default_factory=lambda: [Check("adoption", True)])
    planned: list[Object] = field(default_factory=list)

    async def plan(self, objects: Sequence[Object]) -> Sequence[ObjectPlan]:
        self.planned = list(objects)
        return [
            ObjectPlan(
                obj["kind"],
                obj["metadata"].get("namespace", ""),
                obj["metadata"]["name"],
                ({"do": "CreateRecord", "text": "make it"},),
            )
            for obj in objects
        ]

    async def info(self) -> Object:
        return {"name": "fake"}

    async def halt(self) -> int:
        return 3

    async def doctor(self) -> Sequence[Check]:
        return [Check("root", True, "uid 0", "uid 0")]

    async def ready(self) -> Sequence[Check]:
        return tuple(self.checks)


@dataclass
class FakeOperations:
    """All four, and :meth:`all` as the server wants them."""

    containers: FakeContainers = field(default_factory=FakeContainers)
    images: FakeImages = field(default_factory=FakeImages)
    orphans: FakeOrphans = field(default_factory=FakeOrphans)
    node: FakeNode = field(default_factory=FakeNode)

    def all(self) -> Operations:
        return Operations(self.containers, self.images, self.orphans, self.node)
