"""Watch: a stream of changes, one JSON document per line, for as long as the client stays.

Cost matters here: a change to one object is told to every watcher of its kind. The line of a change is joined once and kept
for the other watchers; nothing is parsed.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import orjson
from aiohttp import web

from setpoint.api import queries
from setpoint.api.replies import internal
from setpoint.api.streaming import Streams
from state.errors import BadRequest, Cause, Invalid, StateError
from state.objects import Key, Stored
from state.resources.types import ResourceType
from state.store import Selection, Store, WatchEvent

Render = Callable[[Stored, bool], bytes]
"""An object as this client wants it; the flag is true for the first one of the stream."""

BOOKMARK_EVERY_S = 60.0
_DEFAULT_TIMEOUT_S = (1800.0, 3600.0)
_INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the query asks for."""

    since: int | None
    initial: bool
    bookmarks: bool
    timeout_s: float

    @classmethod
    def of(cls, query: Mapping[str, str]) -> WatchOptions:
        """Raises BadRequest, Invalid."""
        version = query.get("resourceVersion", "")
        initial = queries.flag(query, "sendInitialEvents")
        if "sendInitialEvents" in query and query.get("resourceVersionMatch") != "NotOlderThan":
            message = "sendInitialEvents needs resourceVersionMatch=NotOlderThan"
            raise Invalid(message, causes=[Cause("resourceVersionMatch", message, "FieldValueForbidden")])
        if not initial and "sendInitialEvents" not in query and "resourceVersionMatch" in query:
            message = "resourceVersionMatch is not taken by watch without sendInitialEvents"
            raise Invalid(message, causes=[Cause("resourceVersionMatch", message, "FieldValueForbidden")])
        since = None if initial or version in ("", "0") else revision(version)
        # Spread over half an hour, so that watchers which came together do not come back together.
        timeout = queries.number(query, "timeoutSeconds") or random.uniform(*_DEFAULT_TIMEOUT_S)  # noqa: S311
        return cls(since, initial, queries.flag(query, "allowWatchBookmarks"), timeout)


def revision(text: str) -> int:
    """A resourceVersion; opaque to clients, a number to us. Raises BadRequest."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"resourceVersion {text!r} is not one that this server gave out")
    return int(text)


class Lines:
    """Event lines that were joined lately, shared by the watchers of one kind."""

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._lines: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    def of(self, event: WatchEvent, stored: Stored) -> bytes:
        at = (event.type, stored.uid, event.revision)
        line = self._lines.get(at)
        if line is None:
            line = line_of(event.type, stored.body)
            self._lines[at] = line
            if len(self._lines) > self._capacity:
                self._lines.popitem(last=False)
        return line


def line_of(kind: str, body: bytes) -> bytes:
    """One event."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


class Watch:
    """One watcher's answer."""

    def __init__(self, kind: ResourceType, options: WatchOptions, *, lines: Lines, render: Render | None) -> None:
        self._kind = kind
        self._options = options
        self._lines = lines
        self._render = render
        self._told = options.since or 0
        self._first = True

    async def serve(self, request: web.Request, store: Store, select: Selection, streams: Streams) -> web.StreamResponse:
        """Answers until the client leaves, the time is up, or the server stops."""
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
        await response.prepare(request)
        ticking: asyncio.Task[None] | None = None
        if self._options.bookmarks:
            ticking = asyncio.create_task(self._tick(response))
        try:
            async with streams.until_closed():
                await self._pump(response, store, select)
        finally:
            if ticking is not None:
                ticking.cancel()
        return response

    async def _pump(self, response: web.StreamResponse, store: Store, select: Selection) -> None:
        # The protocol promises an iterator; the stores give generators, whose closing frees the subscription at once.
        events = cast(
            "AsyncGenerator[WatchEvent, None]",
            store.watch(select, since=self._options.since, initial=self._options.initial),
        )
        try:
            async with asyncio.timeout(self._options.timeout_s), aclosing(events):
                async for event in events:
                    line = self._line(event)
                    if line:
                        await response.write(line)
        except TimeoutError:
            return
        except StateError as exc:
            await response.write(line_of("ERROR", orjson.dumps(exc.to_status())))
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception as exc:
            await response.write(line_of("ERROR", orjson.dumps(internal(exc, f"watch {self._kind.plural}"))))

    def _line(self, event: WatchEvent) -> bytes:
        self._told = max(self._told, event.revision)
        if event.stored is None:
            wanted = self._options.bookmarks or (event.initial_end and self._options.initial)
            return self._bookmark(event.initial_end) if wanted else b""
        if self._render is None:
            return self._lines.of(event, event.stored)
        first, self._first = self._first, False
        return line_of(event.type, self._render(event.stored, first))

    def _bookmark(self, initial_end: bool) -> bytes:
        meta: dict[str, object] = {"resourceVersion": str(self._told), "creationTimestamp": None}
        if initial_end:
            meta["annotations"] = {_INITIAL_END: "true"}
        body = orjson.dumps({"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": meta})
        if self._render is not None:
            first, self._first = self._first, False
            body = self._render(Stored(Key(self._kind.kind, "", ""), "", self._told, body), first)
        return line_of("BOOKMARK", body)

    async def _tick(self, response: web.StreamResponse) -> None:
        """Bookmarks for a quiet stream; a line is one write, so that they never fall into the middle of another."""
        while True:
            await asyncio.sleep(BOOKMARK_EVERY_S)
            if self._told:
                await response.write(self._bookmark(False))
