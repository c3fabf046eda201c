"""What is done to and seen of one container beside its object: kill, why, log, exec, attach."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import cast

from aiohttp import web

from controllers.container.ports import StartFailed
from setpoint.api import queries
from setpoint.api.bodies import read_object
from setpoint.api.kinds import item_path
from setpoint.api.operations import AttachRequest, ContainerOperations, ExecRequest, LogRequest
from setpoint.api.replies import internal, reply, success
from setpoint.api.streaming import Streams
from setpoint.api.websocket import serve_session
from state.errors import BadRequest, Cause, Invalid, StateError
from state.objects import Key
from state.resources.types import ResourceType
from state.store import Store

_FIRST_WITHIN_S = 0.25


class Containers:
    """The handlers of ``containers/NAME/…``."""

    def __init__(self, kind: ResourceType, store: Store, operations: ContainerOperations, streams: Streams) -> None:
        self._kind = kind
        self._store = store
        self._operations = operations
        self._streams = streams

    def routes(self) -> Iterator[web.RouteDef]:
        item = item_path(self._kind)
        yield web.post(item + "/kill", self.kill)
        yield web.get(item + "/why", self.why)
        yield web.get(item + "/log", self.log)
        yield web.get(item + "/exec", self.exec)
        yield web.post(item + "/exec", self.exec)
        yield web.get(item + "/attach", self.attach)
        yield web.post(item + "/attach", self.attach)

    async def _key(self, request: web.Request) -> Key:
        """Raises NotFound before anything is begun."""
        key = Key(self._kind.kind, request.match_info["namespace"], request.match_info["name"])
        await self._store.get(key)
        return key

    async def kill(self, request: web.Request) -> web.StreamResponse:
        key = await self._key(request)
        body = await read_object(request, optional=True)
        number = signal_number(body.get("signal", "SIGKILL"))
        await self._streams.finish(self._operations.kill(key, number))
        return success(details={"name": key.name, "kind": self._kind.plural, "group": self._kind.group})

    async def why(self, request: web.Request) -> web.StreamResponse:
        return reply(await self._operations.why(await self._key(request)))

    async def exec(self, request: web.Request) -> web.StreamResponse:
        key = await self._key(request)
        query = request.query
        asked = _exec_request(request)
        if queries.flag(query, "detach"):
            try:
                pid = await self._streams.finish(self._operations.exec_detached(key, asked))
            except StartFailed as exc:
                message = f"cannot be executed: {exc.message}"
                raise Invalid(f"command {message}", causes=[Cause("command", message)], kind=key.kind, name=key.name) from exc
            return reply({"pid": pid}, code=201)
        wanted = _wanted(asked.stdin, asked.stdout, asked.stderr, asked.tty)
        return await serve_session(request, lambda: self._operations.exec(key, asked), wanted, self._streams)

    async def attach(self, request: web.Request) -> web.StreamResponse:
        key = await self._key(request)
        query = request.query
        asked = AttachRequest(*(queries.flag(query, name) for name in ("stdin", "stdout", "stderr", "tty", "wait")))
        wanted = _wanted(asked.stdin, asked.stdout, asked.stderr, asked.tty)
        return await serve_session(
            request, lambda: self._operations.attach(key, asked), wanted, self._streams, greet=asked.wait
        )

    async def log(self, request: web.Request) -> web.StreamResponse:
        key = await self._key(request)
        asked = _log_request(request)
        limit = queries.number(request.query, "limitBytes")
        # The protocol promises an iterator; whoever implements it writes a generator.
        lines = cast("AsyncGenerator[bytes, None]", self._operations.logs(key, asked))
        async with aclosing(lines):
            first = asyncio.ensure_future(anext(lines, b""))
            try:
                # An error of the request comes at once and is then an HTTP error; a quiet log may take its time.
                await asyncio.wait((first,), timeout=_FIRST_WITHIN_S)
                if first.done():
                    first.result()
                response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
                await response.prepare(request)
                async with self._streams.until_closed():
                    await _send(response, first, lines, limit)
            finally:
                if not first.done():
                    first.cancel()
                    await asyncio.wait((first,))
        return response


async def _send(
    response: web.StreamResponse, first: asyncio.Future[bytes], lines: AsyncGenerator[bytes, None], limit: int
) -> None:
    sent = 0
    try:
        chunk = await first
        while chunk:
            part = chunk[: limit - sent] if limit else chunk
            await response.write(part)
            sent += len(part)
            if limit and sent >= limit:
                return
            chunk = await anext(lines, b"")
    except StateError as exc:
        await response.write(f"\nsetpoint: the log ends here: {exc.message}\n".encode())
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as exc:
        await response.write(f"\nsetpoint: the log ends here: {internal(exc, 'log')['message']}\n".encode())


def _exec_request(request: web.Request) -> ExecRequest:
    query = request.query
    command = tuple(query.getall("command", []))
    if not command or not command[0]:
        raise BadRequest("exec needs a command: give the query parameter command at least once")
    env = tuple(query.getall("env", []))
    for entry in env:
        if "=" not in entry[1:]:
            raise BadRequest("every env must be NAME=VALUE")
    if any("\0" in word for word in (*command, *env)):
        raise BadRequest("command and env may not contain a zero byte")
    return ExecRequest(
        command=command,
        **{name: queries.flag(query, name) for name in ("stdin", "stdout", "stderr", "tty")},
        user=query.get("user", ""),
        working_dir=query.get("workingDir", ""),
        env=env,
        size=(queries.number(query, "width"), queries.number(query, "height")),
    )


def _wanted(stdin: bool, stdout: bool, stderr: bool, tty: bool) -> frozenset[str]:
    wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty}
    chosen = frozenset(name for name, on in wanted.items() if on)
    if not chosen:
        raise BadRequest("give at least one of stdin, stdout and stderr")
    return chosen


def _log_request(request: web.Request) -> LogRequest:
    query = request.query
    if "sinceSeconds" in query and "sinceTime" in query:
        raise BadRequest("give sinceSeconds or sinceTime, not both")
    return LogRequest(
        follow=queries.flag(query, "follow"),
        tail_lines=queries.number(query, "tailLines") if query.get("tailLines") else None,
        timestamps=queries.flag(query, "timestamps"),
        since_seconds=queries.seconds(query, "sinceSeconds"),
        since_time=queries.instant(query, "sinceTime"),
        previous=queries.flag(query, "previous"),
    )


def signal_number(given: object) -> int:
    """A signal by name, with or without ``SIG``, or by number. Raises BadRequest."""
    text = str(given).upper()
    if isinstance(given, bool) or not isinstance(given, int | str):
        text = ""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= signal.SIGRTMAX:
        return int(text)
    name = text if text.startswith("SIG") else "SIG" + text
    real_time = re.fullmatch(r"SIGRT(MIN\+|MAX-)(\d{1,2})", name)
    if real_time:
        shift = int(real_time[2])
        number = signal.SIGRTMIN + shift if real_time[1] == "MIN+" else signal.SIGRTMAX - shift
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return int(number)
    if name in signal.Signals.__members__:
        return int(signal.Signals[name])
    raise BadRequest(f"signal {given!r} is not known; give a name as SIGTERM or a number from 1 to {int(signal.SIGRTMAX)}")
