"""Objects over HTTP: list, watch, create, read, replace, patch, apply, delete; and their status.

Reads join the stored bytes. Field validation is always strict, whatever ``fieldValidation`` says: an unknown field is
refused, never dropped, because a field that is stored and ignored is worse than an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

import orjson
from aiohttp import web

from setpoint.api import queries
from setpoint.api.audit import OBJECTS
from setpoint.api.bodies import decode_json, read_body, read_object
from setpoint.api.kinds import item_path
from setpoint.api.replies import reply, success
from setpoint.api.streaming import Streams
from setpoint.api.table import Tables, negotiate, partial, partial_list
from setpoint.api.watching import Lines, Watch, WatchOptions, revision
from state.errors import BadRequest, Cause, Conflict, Gone, Invalid, NotFound, UnsupportedMedia
from state.objects import Key, Object, Stored
from state.resources.types import ResourceType
from state.store import Apply, DeleteOptions, Preconditions, Selection, Store, Subresource

TAKEN_BY_APPLY = frozenset(
    f"setpoint-{verb}" for verb in ("run-state", "restart", "hold", "set", "edit", "label", "annotate", "patch", "scale")
)
"""Managers of the human verbs: apply by ``setpoint`` takes their fields over, and says so."""

Propagation = Literal["Background", "Foreground", "Orphan"]
_PROPAGATION: dict[str, Propagation] = {"Background": "Background", "Foreground": "Foreground", "Orphan": "Orphan"}


class Resources:
    """The handlers of one kind."""

    def __init__(self, kind: ResourceType, store: Store, streams: Streams, now: Callable[[], datetime]) -> None:
        self._kind = kind
        self._store = store
        self._streams = streams
        self._now = now
        self._tables = Tables(kind)
        self._lines = Lines()

    def routes(self) -> Iterator[web.RouteDef]:
        """In the order in which they must be matched."""
        kind = self._kind
        item = item_path(kind)
        everywhere = f"{kind.path}/{kind.plural}"
        collection = item.removesuffix("/{name}")
        if kind.has_status:
            yield web.get(item + "/status", self.get)
            yield web.put(item + "/status", self.replace_status)
            yield web.patch(item + "/status", self.patch_status)
        yield web.get(item, self.get)
        yield web.put(item, self.replace)
        yield web.patch(item, self.patch)
        yield web.delete(item, self.delete)
        yield web.get(collection, self.list)
        yield web.post(collection, self.create)
        yield web.delete(collection, self.delete_collection)
        if kind.namespaced:
            yield web.get(everywhere, self.list)

    # Reads

    async def get(self, request: web.Request) -> web.StreamResponse:
        return self._one(request, await self._store.get(self._key(request)))

    async def list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        select = self._selection(request)
        if queries.flag(query, "watch"):
            return await self._watch(request, select)
        page = query.get("continue", "")
        listing = await self._store.list(select, limit=queries.number(query, "limit"), page=page)
        asked = query.get("resourceVersion", "")
        if asked and not page:
            self._check_version(revision(asked), query.get("resourceVersionMatch", ""), listing.revision)
        meta: Object = {"resourceVersion": str(listing.revision)}
        if listing.next:
            meta["continue"] = listing.next
            if listing.remaining is not None:
                meta["remainingItemCount"] = listing.remaining
        form = negotiate(request.headers.get("Accept", ""))
        if form == "Table":
            include = query.get("includeObject", "Metadata")
            return reply(self._tables.table(listing.items, include=include, now=self._now(), meta=meta))
        if form == "PartialObjectMetadataList":
            return reply(partial_list(listing.items, meta))
        return reply(self._join(listing.items, meta))

    def _join(self, items: tuple[Stored, ...], meta: Object) -> bytes:
        head = orjson.dumps({"kind": self._kind.list_kind, "apiVersion": self._kind.api_version, "metadata": meta})
        return b"".join((head[:-1], b',"items":[', b",".join([stored.body for stored in items]), b"]}"))

    @staticmethod
    def _check_version(asked: int, match: str, have: int) -> None:
        if asked > have:
            raise Gone(f"resourceVersion {asked} is from another store: this one is at {have}; list again without it")
        if match == "Exact" and asked != have:
            raise Gone(f"resourceVersion {asked} is no longer kept as a whole: the store is at {have}")

    async def _watch(self, request: web.Request, select: Selection) -> web.StreamResponse:
        options = WatchOptions.of(request.query)
        if select.labels or select.fields:
            # A selector that cannot be read is an error of the request, not an event of the stream.
            await self._store.list(select, limit=1)
        form = negotiate(request.headers.get("Accept", ""))
        render = None
        if form:
            include = request.query.get("includeObject", "Metadata")

            def render(stored: Stored, first: bool) -> bytes:
                return self._shown(stored, form, include, columns=first)

        watch = Watch(self._kind, options, lines=self._lines, render=render)
        return await watch.serve(request, self._store, select, self._streams)

    # Writes

    async def create(self, request: web.Request) -> web.StreamResponse:
        obj = self._own(await read_object(request), request.match_info.get("namespace", ""), "")
        manager, dry = _manager(request), queries.dry_run(request.query)
        stored = await self._streams.finish(self._store.create(obj, manager=manager, dry_run=dry))
        request[OBJECTS] = (str(stored.key),)
        return self._one(request, _unversioned(stored) if dry else stored, code=201)

    async def replace(self, request: web.Request) -> web.StreamResponse:
        return await self._replace(request, "")

    async def replace_status(self, request: web.Request) -> web.StreamResponse:
        return await self._replace(request, "status")

    async def _replace(self, request: web.Request, subresource: Subresource) -> web.StreamResponse:
        key = self._key(request)
        obj = self._own(await read_object(request), key.namespace, key.name)
        if self._kind.group and not obj["metadata"].get("resourceVersion"):
            message = "must be specified for an update"
            cause = Cause("metadata.resourceVersion", message, "FieldValueRequired")
            raise Invalid(f"metadata.resourceVersion: {message}", causes=[cause], kind=key.kind, name=key.name)
        write = self._store.update(
            obj, manager=_manager(request), subresource=subresource, dry_run=queries.dry_run(request.query)
        )
        return self._one(request, await self._streams.finish(write))

    async def patch(self, request: web.Request) -> web.StreamResponse:
        if request.content_type == "application/apply-patch+yaml":
            return await self._apply(request)
        return await self._patch(request, "")

    async def patch_status(self, request: web.Request) -> web.StreamResponse:
        return await self._patch(request, "status")

    async def _patch(self, request: web.Request, subresource: Subresource) -> web.StreamResponse:
        media = request.content_type
        if media not in ("application/merge-patch+json", "application/json-patch+json"):
            raise UnsupportedMedia(
                f"the body of the request was in an unknown format - accepted media types include: "
                f"application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml; it was {media}"
            )
        patch = decode_json(await read_body(request))
        merge = media == "application/merge-patch+json"
        if not isinstance(patch, dict if merge else list):
            raise BadRequest(f"a {'merge patch is an object' if merge else 'JSON patch is a list of operations'}")
        write = self._store.patch(
            self._key(request),
            patch,
            type="merge" if merge else "json",
            manager=_manager(request),
            subresource=subresource,
            dry_run=queries.dry_run(request.query),
        )
        return self._one(request, await self._streams.finish(write))

    async def _apply(self, request: web.Request) -> web.StreamResponse:
        key = self._key(request)
        manager = request.query.get("fieldManager", "")
        if not manager:
            message = "is required for apply patch"
            cause = Cause("fieldManager", message, "FieldValueRequired")
            raise Invalid(f"fieldManager: {message}", causes=[cause], kind=key.kind, name=key.name)
        obj = self._own(await read_object(request), key.namespace, key.name)
        one = Apply(obj, _checked_manager(manager), queries.flag(request.query, "force"), take_from(manager))
        write = self._store.apply([one], dry_run=queries.dry_run(request.query))
        applied = (await self._streams.finish(write))[0]
        if applied.outcome != "created":
            return self._one(request, applied.stored)
        dry = queries.dry_run(request.query)
        return self._one(request, _unversioned(applied.stored) if dry else applied.stored, code=201)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        key = self._key(request)
        options, dry = await _delete_options(request)
        stored = await self._streams.finish(self._store.delete(key, options, dry_run=dry))
        meta = orjson.loads(stored.body)["metadata"]
        if meta.get("deletionTimestamp") and meta.get("finalizers"):
            return self._one(request, stored)
        return success(details={"name": key.name, "kind": self._kind.plural, "group": self._kind.group, "uid": stored.uid})

    async def delete_collection(self, request: web.Request) -> web.StreamResponse:
        options, dry = await _delete_options(request)
        listing = await self._store.list(self._selection(request))
        return reply(await self._streams.finish(self._delete_all(listing.items, options, dry, listing.revision)))

    async def _delete_all(self, items: tuple[Stored, ...], options: DeleteOptions, dry: bool, at: int) -> bytes:
        gone = []
        for stored in items:
            try:
                gone.append(await self._store.delete(stored.key, options, dry_run=dry))
            except (NotFound, Conflict):
                continue
        return self._join(tuple(gone), {"resourceVersion": str(at)})

    # What the request names

    def _key(self, request: web.Request) -> Key:
        match = request.match_info
        return Key(self._kind.kind, match.get("namespace", ""), match["name"])

    def _selection(self, request: web.Request) -> Selection:
        query = request.query
        return Selection(
            self._kind.kind,
            request.match_info.get("namespace", ""),
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
        )

    def _own(self, obj: Object, namespace: str, name: str) -> Object:
        """The body as an object of this path: what core/v1 clients leave out is filled in, what contradicts is refused."""
        kind = self._kind
        named = {"kind": kind.kind, "apiVersion": kind.api_version}
        for field, wanted in named.items():
            given = obj.get(field)
            if given is None and not kind.group:
                continue
            if given != wanted:
                said = "is required" if given is None else f"is {given!r}"
                raise BadRequest(f"{field} {said}; under this path it must be {wanted!r}")
        meta = obj.get("metadata", {})
        if not isinstance(meta, dict):
            raise BadRequest("metadata must be an object")
        meta = dict(meta)
        for field, wanted in (("namespace", namespace), ("name", name)):
            given = meta.get(field)
            if wanted and given not in (None, "", wanted):
                raise BadRequest(f"the {field} of the object ({given}) does not match the {field} on the URL ({wanted})")
            if wanted:
                meta[field] = wanted
        if not kind.namespaced and meta.get("namespace"):
            raise BadRequest(f"metadata.namespace must be empty: {kind.plural} are not namespaced")
        return {**named, **{k: v for k, v in obj.items() if k not in named}, "metadata": meta}

    # What the client wants to see

    def _one(self, request: web.Request, stored: Stored, *, code: int = 200) -> web.Response:
        form = negotiate(request.headers.get("Accept", ""))
        include = request.query.get("includeObject", "Metadata")
        return reply(self._shown(stored, form, include), code=code)

    def _shown(self, stored: Stored, form: str, include: str, *, columns: bool = True) -> bytes:
        if form == "Table":
            meta = {"resourceVersion": str(stored.revision)}
            return self._tables.table([stored], include=include, now=self._now(), columns=columns, meta=meta)
        if form.startswith("PartialObjectMetadata"):
            return orjson.dumps(partial(orjson.loads(stored.body)))
        return stored.body


def take_from(manager: str) -> frozenset[str]:
    """Whose fields an apply by this manager takes over without force."""
    return TAKEN_BY_APPLY if manager == "setpoint" else frozenset()


def _unversioned(stored: Stored) -> Stored:
    """As a dry run shows what it would create: a version was never given out."""
    obj = stored.object
    obj["metadata"].pop("resourceVersion", None)
    return Stored(stored.key, stored.uid, stored.revision, orjson.dumps(obj))


def _manager(request: web.Request) -> str:
    """``fieldManager``, else the first word of the User-Agent, as upstream."""
    given = request.query.get("fieldManager") or request.headers.get("User-Agent", "").partition("/")[0].strip()
    return _checked_manager(given or "unknown")


def _checked_manager(manager: str) -> str:
    if len(manager) > 128 or not manager.isprintable():
        raise BadRequest("fieldManager may have at most 128 printable characters")
    return manager


async def _delete_options(request: web.Request) -> tuple[DeleteOptions, bool]:
    body = await read_object(request, optional=True)
    query = request.query
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = queries.number(query, "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < -1):
        raise BadRequest(f"gracePeriodSeconds {grace!r} is not a number of seconds")
    asked = str(body.get("propagationPolicy") or query.get("propagationPolicy") or "Background")
    propagation = _PROPAGATION.get(asked)
    if propagation is None:
        raise BadRequest(f"propagationPolicy {asked!r} is none of {', '.join(_PROPAGATION)}")
    only = body.get("preconditions") or {}
    if not isinstance(only, dict):
        raise BadRequest("preconditions must be an object")
    at = only.get("resourceVersion") or ""
    return (
        DeleteOptions(
            preconditions=Preconditions(uid=str(only.get("uid") or ""), revision=revision(str(at)) if at else 0),
            propagation=propagation,
            options={} if grace is None else {"gracePeriodSeconds": grace},
        ),
        queries.dry_run(query) or body.get("dryRun") == ["All"],
    )
