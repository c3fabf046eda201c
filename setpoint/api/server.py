"""The API server: one aiohttp application on one unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_runner import BaseRunner, BaseSite
from prometheus_client import CollectorRegistry

from setpoint.api.audit import PEER, audit_middleware
from setpoint.api.bodies import SLOW, SLOW_S
from setpoint.api.containers import Containers
from setpoint.api.discovery import Discovery
from setpoint.api.health import Health
from setpoint.api.kinds import Kinds
from setpoint.api.metrics import measured, process_metrics
from setpoint.api.node import NodeRoutes
from setpoint.api.operations import Operations
from setpoint.api.peers import peer_of
from setpoint.api.replies import Handler, errors_middleware
from setpoint.api.resources import Resources
from setpoint.api.sockets import BACKLOG, listen_unix
from setpoint.api.streaming import Streams
from state.errors import Denied
from state.store import Store

_STOP_S = 5.0
_LINE_BYTES = 1 << 20
_log = structlog.get_logger("setpoint.api")


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """``socket``: where to listen. ``group``: its gid, whose members may use the API besides root; None: root alone.
    ``metrics``: what ``/metrics`` shows, by default the process and the API itself."""

    socket: Path
    group: int | None = None
    slow_body_s: float = SLOW_S
    metrics: CollectorRegistry = field(default_factory=process_metrics)


class ApiServer:
    """Serves a store and the agent's operations until :meth:`stop`."""

    def __init__(
        self, settings: ApiSettings, *, store: Store, operations: Operations, kinds: Kinds, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._streams = Streams()
        counting = measured(settings.metrics, lambda: len(self._streams))
        app = web.Application(middlewares=[counting, errors_middleware, _guard(settings.group), audit_middleware])
        app[SLOW] = settings.slow_body_s
        app.add_routes(list(_routes(store, operations, kinds, self._streams, settings, now)))
        app.on_shutdown.append(self._end_streams)
        self._runner = web.AppRunner(
            app,
            # Without cancellation a watcher that left is noticed at the next change only.
            handler_cancellation=True,
            # The command of an exec is part of its request line.
            max_line_size=_LINE_BYTES,
            access_log=None,
            shutdown_timeout=_STOP_S,
        )
        self._inode = 0

    @property
    def streams(self) -> int:
        """How many watches, logs and sessions are open."""
        return len(self._streams)

    async def start(self) -> None:
        """Listens. Raises SocketTaken."""
        sock = listen_unix(self._settings.socket, group=self._settings.group)
        self._inode = self._settings.socket.stat().st_ino
        await self._runner.setup()
        await _Listening(self._runner, sock).start()
        _log.info("api listens", socket=str(self._settings.socket), group=self._settings.group)

    async def stop(self) -> None:
        """No new connection; watches end; writes and short requests get 5 s; the socket file goes if it is still ours."""
        await self._runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            if self._settings.socket.stat().st_ino == self._inode:
                self._settings.socket.unlink()

    async def _end_streams(self, _app: web.Application) -> None:
        await self._streams.close()


class _Listening(BaseSite):
    """A site on a unix socket that is already bound; aiohttp's own binds by path and removes whatever is there."""

    def __init__(self, runner: BaseRunner, sock: socket.socket) -> None:
        super().__init__(runner)
        self._bound = sock

    @property
    def name(self) -> str:
        return "unix"

    async def start(self) -> None:
        await super().start()
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._runner.server, sock=self._bound, backlog=BACKLOG)


def _guard(group: int | None) -> Middleware:
    @web.middleware
    async def guard_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Root and the socket's group, nobody else."""
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is None:
            raise ConnectionResetError("the client left")
        peer = peer_of(sock)
        request[PEER] = peer
        if not peer.may_use(group):
            raise Denied(f"uid {peer.uid} may not use this API: root and the members of the socket's group may")
        return await handler(request)

    return guard_middleware


def _routes(
    store: Store,
    operations: Operations,
    kinds: Kinds,
    streams: Streams,
    settings: ApiSettings,
    now: Callable[[], datetime],
) -> Iterator[web.RouteDef]:
    yield from Health(operations.node, settings.metrics).routes()
    yield from Discovery(kinds).routes()
    yield from NodeRoutes(store, operations, kinds, streams).routes()
    for kind in kinds:
        if kind.kind == "Container":
            yield from Containers(kind, store, operations.containers, streams).routes()
    # Namespaces first: /namespaces/x/status must not be taken for the collection "status" of namespace x.
    for kind in sorted(kinds, key=lambda kind: kind.kind != "Namespace"):
        yield from Resources(kind, store, streams, now).routes()
