"""Is it alive, is it ready, what has it counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from setpoint.api.operations import Check, NodeOperations
from setpoint.api.replies import internal

_READY_WITHIN_S = 5.0
PING = "This is Setpoint, not Docker: its API is Kubernetes-shaped, and its command line is `setpoint`.\n"


class Health:
    """``/livez`` and ``/healthz``: the loop answers. ``/readyz``: the agent has adopted what runs."""

    def __init__(self, node: NodeOperations, metrics: CollectorRegistry) -> None:
        self._node = node
        self._metrics = metrics

    def routes(self) -> Iterator[web.RouteDef]:
        yield web.get("/livez", self.live)
        yield web.get("/healthz", self.live)
        yield web.get("/readyz", self.ready)
        yield web.get("/metrics", self.metrics)
        # Docker's clients knock here; GET only, since aiohttp answers HEAD by it.
        yield web.get("/_ping", self.ping)

    async def live(self, request: web.Request) -> web.StreamResponse:
        return _answer(request, [Check("loop", True)], "livez")

    async def ready(self, request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                checks = list(await self._node.ready())
        except TimeoutError:
            checks = [Check("agent", False, "does not answer")]
        except Exception as exc:
            checks = [Check("agent", False, internal(exc, "readyz")["message"])]
        return _answer(request, checks, "readyz")

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=generate_latest(self._metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def ping(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=PING)


def _answer(request: web.Request, checks: list[Check], name: str) -> web.Response:
    good = all(check.ok for check in checks)
    if good and "verbose" not in request.query:
        return web.Response(text="ok")
    lines = [f"[+]{check.name} ok" if check.ok else f"[-]{check.name} failed: {check.found}" for check in checks]
    lines.append(f"{name} check {'passed' if good else 'failed'}")
    return web.Response(text="\n".join(lines) + "\n", status=200 if good else 503)
