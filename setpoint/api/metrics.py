"""What the API counts of itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from setpoint.api.replies import Handler

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


def process_metrics() -> CollectorRegistry:
    """A registry of its own, so that several servers fit into one process, with what is known of that process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def measured(registry: CollectorRegistry, streams: Callable[[], int]) -> Middleware:
    """A middleware, to be the outermost: requests by verb and code, seconds of those that are not streams, open streams."""
    requests = Counter("setpoint_api_requests", "Requests answered.", ["verb", "code"], registry=registry)
    seconds = Histogram("setpoint_api_request_seconds", "Time to answer.", ["verb"], registry=registry, buckets=_BUCKETS)
    Gauge("setpoint_api_streams", "Watches, logs and sessions that are open.", registry=registry).set_function(streams)

    @web.middleware
    async def metrics_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await handler(request)
        requests.labels(request.method, response.status).inc()
        if isinstance(response, web.Response):
            seconds.labels(request.method).observe(time.perf_counter() - began)
        return response

    return metrics_middleware
