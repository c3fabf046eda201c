"""``/setpoint/v1``: what has no place among Kubernetes' paths. Apply of many, plans, images, orphans, the node itself."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import orjson
from aiohttp import web

from setpoint.api.applysets import ApplyCall, ApplySets
from setpoint.api.audit import OBJECTS
from setpoint.api.bodies import read_object, read_pieces
from setpoint.api.kinds import Kinds, named
from setpoint.api.operations import ImageRow, Operations, Orphan, PullProgress
from setpoint.api.replies import internal, reply, success
from setpoint.api.streaming import Streams
from state.errors import BadRequest, StateError
from state.objects import Object
from state.store import Store

PREFIX = "/setpoint/v1"


class NodeRoutes:
    """The handlers."""

    def __init__(self, store: Store, operations: Operations, kinds: Kinds, streams: Streams) -> None:
        self._sets = ApplySets(store, kinds)
        self._operations = operations
        self._streams = streams

    def routes(self) -> Iterator[web.RouteDef]:
        yield web.post(f"{PREFIX}/apply", self.apply)
        yield web.post(f"{PREFIX}/plan", self.plan)
        yield web.get(f"{PREFIX}/orphans", self.orphans)
        yield web.post(f"{PREFIX}/orphans/{{id}}/adopt", self.adopt)
        yield web.delete(f"{PREFIX}/orphans/{{id}}", self.remove_orphan)
        yield web.get(f"{PREFIX}/images", self.images)
        yield web.delete(f"{PREFIX}/images", self.remove_image)
        yield web.post(f"{PREFIX}/images/load", self.load)
        yield web.post(f"{PREFIX}/images/pull", self.pull)
        yield web.post(f"{PREFIX}/node/stop", self.halt)
        yield web.get(f"{PREFIX}/info", self.info)
        yield web.get(f"{PREFIX}/doctor", self.doctor)

    async def apply(self, request: web.Request) -> web.StreamResponse:
        call = ApplyCall.of(await read_object(request))
        request[OBJECTS] = tuple(str(key) for obj in call.objects if (key := named(obj)))
        return reply({"results": await self._streams.finish(self._sets.apply(call))})

    async def plan(self, request: web.Request) -> web.StreamResponse:
        """A dry-run apply says what the objects would be, the agent what it would then do."""
        body = await read_object(request)
        body.pop("dryRun", None)
        results = await self._sets.apply(ApplyCall.of({**body, "dryRun": True}))
        plans = await self._operations.node.plan([result["object"] for result in results])
        return reply({"plans": [dataclasses.asdict(plan) for plan in plans]})

    async def orphans(self, _request: web.Request) -> web.StreamResponse:
        return reply({"items": [_orphan(orphan) for orphan in await self._operations.orphans.list()]})

    async def adopt(self, request: web.Request) -> web.StreamResponse:
        key = await self._streams.finish(self._operations.orphans.adopt(request.match_info["id"]))
        return reply({"kind": key.kind, "namespace": key.namespace, "name": key.name})

    async def remove_orphan(self, request: web.Request) -> web.StreamResponse:
        await self._streams.finish(self._operations.orphans.remove(request.match_info["id"]))
        return success()

    async def images(self, _request: web.Request) -> web.StreamResponse:
        return reply({"items": [_image(row) for row in await self._operations.images.list()]})

    async def remove_image(self, request: web.Request) -> web.StreamResponse:
        reference = request.query.get("reference", "")
        if not reference:
            raise BadRequest("give the query parameter reference")
        await self._streams.finish(self._operations.images.remove(reference))
        return success()

    async def load(self, request: web.Request) -> web.StreamResponse:
        """Unbounded on purpose: the archive goes through, piece by piece, and the client's leaving ends it."""
        return reply({"references": list(await self._operations.images.load(read_pieces(request)))})

    async def pull(self, request: web.Request) -> web.StreamResponse:
        body = await read_object(request)
        reference, credentials = body.get("reference"), body.get("credentials")
        if not isinstance(reference, str) or not reference:
            raise BadRequest("give the field reference")
        if credentials is not None and not isinstance(credentials, dict):
            raise BadRequest("credentials must be an object with username and password")
        request[OBJECTS] = (reference,)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async with self._streams.until_closed():
            await _send(response, self._operations.images.pull(reference, credentials))
        return response

    async def halt(self, _request: web.Request) -> web.StreamResponse:
        return reply({"stopped": await self._operations.node.halt()})

    async def info(self, _request: web.Request) -> web.StreamResponse:
        return reply(await self._operations.node.info())

    async def doctor(self, _request: web.Request) -> web.StreamResponse:
        return reply({"checks": _rows(await self._operations.node.doctor())})


async def _send(response: web.StreamResponse, progress: AsyncIterator[PullProgress]) -> None:
    try:
        async with aclosing(cast("AsyncGenerator[PullProgress, None]", progress)) as steps:
            async for step in steps:
                await response.write(orjson.dumps(_step(step)) + b"\n")
    except StateError as exc:
        await response.write(orjson.dumps({"error": exc.message, "status": exc.to_status()}) + b"\n")
    except ConnectionError:
        raise
    except Exception as exc:
        failed = internal(exc, "pull")
        await response.write(orjson.dumps({"error": failed["message"], "status": failed}) + b"\n")


def _step(step: PullProgress) -> Object:
    shown: Object = {"status": step.status, "done": step.done, "total": step.total}
    return {**shown, "reference": step.reference, "digest": step.digest} if step.digest else shown


def _rows(rows: Sequence[Any]) -> list[Object]:
    return [dataclasses.asdict(row) for row in rows]


def _image(row: ImageRow) -> Object:
    return {
        "reference": row.reference,
        "digest": row.digest,
        "sizeBytes": row.size_bytes,
        "createdAt": row.created_at,
        "usedBy": list(row.used_by),
    }


def _orphan(orphan: Orphan) -> Object:
    return dataclasses.asdict(orphan)
