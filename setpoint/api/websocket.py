"""Sessions over a websocket, in the framing of Kubernetes' ``v5.channel.k8s.io`` and ``v4.channel.k8s.io``.

Binary messages; the first byte is the channel: 0 stdin, 1 stdout, 2 stderr, 3 the final ``Status``, 4 resize
(``{"Width", "Height"}``). v5 adds 255: the byte after it names a channel that the client has closed, in practice stdin.
Source: staging/src/k8s.io/apimachinery/pkg/util/remotecommand and client-go/tools/remotecommand/websocket.go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from controllers.container.ports import StartFailed
from setpoint.api.operations import StreamSession
from setpoint.api.replies import internal
from setpoint.api.streaming import Streams
from state.errors import BadRequest, StateError
from state.objects import Object

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_PING_EVERY_S = 15.0
_MAX_MESSAGE = 4 << 20
_CHANNEL = {"stdout": STDOUT, "stderr": STDERR}


async def serve_session(
    request: web.Request,
    start: Callable[[], Awaitable[StreamSession]],
    wanted: frozenset[str],
    streams: Streams,
    *,
    greet: bool = False,
) -> web.StreamResponse:
    """Starts a session and carries it until the process ends or the client leaves. ``wanted``: stdin, stdout, stderr.

    What is wrong with the request is an HTTP error. Whether the session starts is known after the upgrade only, so that no
    process is begun for a client that cannot speak with it; its failure is the Status on channel 3, as any later one.
    ``greet``: an empty message on channel 1 says that the session is there, before anything is printed.
    """
    ws = web.WebSocketResponse(protocols=(V5, V4), max_msg_size=_MAX_MESSAGE, compress=False, autoclose=True)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise BadRequest("this path needs an upgrade to websocket")
    offered = {word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")}
    if not offered & {V5, V4}:
        raise BadRequest(f"the websocket must offer the subprotocol {V5} or {V4}")
    async with streams.until_closed():
        await ws.prepare(request)
        try:
            session = await start()
        except Exception as exc:
            await _conclude(ws, _failed(exc))
            return ws
        try:
            if greet:
                with contextlib.suppress(ConnectionError):
                    await ws.send_bytes(bytes((STDOUT,)))
            final = await _Carrier(ws, session, wanted).run()
        finally:
            await session.close()
        if final is not None:
            await _conclude(ws, final)
    if not ws.closed:
        await ws.close(code=WSCloseCode.GOING_AWAY)
    return ws


def _failed(exc: BaseException) -> Object:
    if isinstance(exc, StartFailed):
        return exit_status(exc.code, exc.message)
    if isinstance(exc, StateError):
        return exc.to_status()
    if isinstance(exc, Exception):
        return internal(exc, "session")
    raise exc


async def _conclude(ws: web.WebSocketResponse, final: Object) -> None:
    with contextlib.suppress(ConnectionError):
        await ws.send_bytes(bytes((ERROR,)) + orjson.dumps(final))
        await ws.close()


class _Carrier:
    """Both directions of one session."""

    def __init__(self, ws: web.WebSocketResponse, session: StreamSession, wanted: frozenset[str]) -> None:
        self._ws = ws
        self._session = session
        self._wanted = wanted

    async def run(self) -> Object | None:
        """The final ``Status``; None when the client left before it."""
        inward = asyncio.ensure_future(self._inward())
        outward = asyncio.ensure_future(self._outward())
        pinging = asyncio.ensure_future(self._ping())
        tasks = (inward, outward, pinging)
        try:
            # The client's leaving ends it as well as the process's end; the end of stdin does neither.
            await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
            if not outward.done() or isinstance(exc := outward.exception(), ConnectionError):
                return None
            return exit_status(outward.result()) if exc is None else _failed(exc)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _outward(self) -> int:
        while (frame := await self._session.read()) is not None:
            stream, data = frame
            if stream in self._wanted:
                await self._ws.send_bytes(bytes((_CHANNEL[stream],)) + data)
        return await self._session.wait()

    async def _inward(self) -> None:
        async for message in self._ws:
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == STDIN and "stdin" in self._wanted and data:
                await self._session.write(data)
            elif channel == RESIZE:
                await self._resize(data)
            elif channel == CLOSE and data[:1] == b"\0" and self._ws.ws_protocol == V5:
                await self._session.close_stdin()

    async def _resize(self, data: bytes) -> None:
        with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            size = orjson.loads(data)
            width, height = int(size["Width"]), int(size["Height"])
            if 0 < width < 65536 and 0 < height < 65536:
                await self._session.resize(width, height)

    async def _ping(self) -> None:
        """Finds a client that left while nothing is read from it, because the process does not read its stdin."""
        while True:
            await asyncio.sleep(_PING_EVERY_S)
            await self._ws.ping()


def exit_status(code: int, message: str = "") -> Object:
    """The final ``Status``: Success for 0, else Failure with the code as the cause ``ExitCode``. ``message``: why the process
    never ran; its code is then 126, 127 or 128, as of a shell."""
    if code == 0:
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message or f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        "code": 500,
    }
