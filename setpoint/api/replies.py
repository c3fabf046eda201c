"""Answers: JSON bodies, ``Status`` objects, and the one place where an exception becomes an HTTP response."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from aiohttp import web

from state.errors import StateError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"
_log = structlog.get_logger("setpoint.api")

_HTTP_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
}


def reply(body: Any, *, code: int = 200, content_type: str = JSON) -> web.Response:
    """A JSON answer; ``body`` is encoded unless it is bytes already."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return web.Response(body=data, status=code, content_type=content_type)


def status(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """A meta/v1 ``Status``; Success below 400."""
    document: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure" if code >= 400 else "Success",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        document["details"] = details
    return document


def success(message: str = "", details: dict[str, Any] | None = None) -> web.Response:
    """``Status`` Success."""
    document: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if message:
        document["message"] = message
    if details:
        document["details"] = details
    return reply(document)


def failure(exc: StateError) -> web.Response:
    """An error of ours as its ``Status``."""
    response = reply(exc.to_status(), code=exc.code)
    if exc.retry_after_s:
        response.headers["Retry-After"] = str(exc.retry_after_s)
    return response


def internal(exc: Exception, doing: str) -> dict[str, Any]:
    """Logs an exception that nobody foresaw, once, and gives the ``Status`` that names the log entry."""
    incident = uuid.uuid4().hex[:12]
    _log.error("unexpected error", incident=incident, doing=doing, exc_info=exc)
    return status(500, "InternalError", f"internal error, see the agent's log for incident {incident}")


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure leaves as a ``Status``. A response that has already begun can only be cut."""
    try:
        return await handler(request)
    except StateError as exc:
        return failure(exc)
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return _foreign(request, exc)
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception as exc:
        return reply(internal(exc, f"{request.method} {request.path}"), code=500)


def _foreign(request: web.Request, exc: web.HTTPException) -> web.Response:
    reason = _HTTP_REASONS.get(exc.status, "InternalError" if exc.status >= 500 else "BadRequest")
    if exc.status == 404:
        message = f"the server could not find the requested resource: {request.path}"
    elif exc.status == 405:
        message = f"the server does not allow {request.method} on {request.path}"
    elif exc.status == 413:
        message = "the request's body is too large"
    else:
        message = exc.text or exc.reason
    response = reply(status(exc.status, reason, message), code=exc.status)
    if "Allow" in exc.headers:
        response.headers["Allow"] = exc.headers["Allow"]
    return response
