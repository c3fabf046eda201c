"""One line per write: who, what, which object, how it ended. Never a value."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from setpoint.api.peers import Peer
from setpoint.api.replies import Handler
from state.errors import StateError

PEER = web.RequestKey("peer", Peer)
OBJECTS = web.RequestKey("objects", tuple[str, ...])
"""Which objects a write was about, where its path does not say; set by handlers."""

_log = structlog.get_logger("setpoint.api.audit")
_CLIENT_LEFT = 499
"""In the log only: the client closed the connection first, the usual end of a session."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@web.middleware
async def audit_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Recorded are writes, the streams that act (exec, attach) and reads of Secrets; other reads are not."""
    recorded = request.path.endswith(("/exec", "/attach")) or "/secrets" in request.path
    if request.method in _READS and not recorded:
        return await handler(request)
    code = 500
    try:
        response = await handler(request)
        code = response.status
        return response
    except StateError as exc:
        code = exc.code
        raise
    except asyncio.CancelledError:
        code = _CLIENT_LEFT
        raise
    except web.HTTPException as exc:
        code = exc.status
        raise
    finally:
        peer = request.get(PEER)
        _log.info(
            "api call",
            verb=request.method.lower(),
            # The path names the object and no more; the query may carry a command's environment.
            path=request.path,
            objects=request.get(OBJECTS, ()),
            manager=request.query.get("fieldManager", ""),
            dry_run=request.query.get("dryRun", ""),
            code=code,
            uid=peer.uid if peer else None,
            pid=peer.pid if peer else None,
        )
