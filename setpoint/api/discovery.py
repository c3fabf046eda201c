"""Discovery: which groups, versions and resources there are, in the legacy and in the aggregated form; and the version.

The aggregated form is given only to clients that ask for ``v2`` of it: older ones take an answer that they did not ask for
as "no resources at all".
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

import orjson
from aiohttp import web

from setpoint import __version__
from setpoint.api.kinds import Kinds
from setpoint.api.replies import Handler, reply
from state.objects import Object
from state.resources.types import ResourceType

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]
_CONTAINER_STREAMS = {
    "log": ["get"],
    "exec": ["create", "get"],
    "attach": ["create", "get"],
    "kill": ["create"],
    "why": ["get"],
}
KUBERNETES_MINOR = "32"
"""Whose API conventions are followed; clients compare it with their own version."""


class Discovery:
    """Documents made once, at start."""

    def __init__(self, kinds: Kinds) -> None:
        groups = kinds.groups()
        self._core = [(at, served) for at, served in groups.items() if not at[0]]
        self._named = [(at, served) for at, served in groups.items() if at[0]]

    def routes(self) -> Iterator[web.RouteDef]:
        yield from _both("/version", _fixed(_version()))
        versions = [at[1] for at, _ in self._core]
        legacy: Object = {"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": []}
        yield from _both("/api", _negotiated(legacy, _aggregated(self._core)))
        groups = [_group(*at) for at, _ in self._named]
        group_list: Object = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        yield from _both("/apis", _negotiated(group_list, _aggregated(self._named)))
        for group in groups:
            yield from _both(f"/apis/{group['name']}", _fixed({"kind": "APIGroup", "apiVersion": "v1", **group}))
        for _, served in (*self._core, *self._named):
            yield from _both(served[0].path, _fixed(_resource_list(served)))


def _both(path: str, handler: Handler) -> Iterator[web.RouteDef]:
    """Some clients add a slash."""
    yield web.get(path, handler)
    yield web.get(path + "/", handler)


def _fixed(document: Object) -> Handler:
    body = orjson.dumps(document)

    async def answer(_request: web.Request) -> web.StreamResponse:
        return reply(body)

    return answer


def _negotiated(legacy: Object, aggregated: Object) -> Handler:
    plain, full = orjson.dumps(legacy), orjson.dumps(aggregated)

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Accept", "").replace(" ", "")
        if "g=apidiscovery.k8s.io;v=v2;" not in asked + ";":
            return reply(plain)
        return web.Response(body=full, headers={"Content-Type": _AGGREGATED})

    return answer


def _group(group: str, version: str) -> Object:
    served = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resource_list(kinds: Sequence[ResourceType]) -> Object:
    resources: list[Object] = []
    for kind in kinds:
        whole = {"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind}
        resources.append({**whole, "verbs": _VERBS, "shortNames": list(kind.short_names), "categories": list(kind.categories)})
        for name, verbs in subresources(kind).items():
            part = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
            resources.append({**part, "kind": kind.kind, "verbs": verbs})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version, "resources": resources}


def subresources(kind: ResourceType) -> dict[str, list[str]]:
    """Name -> verbs."""
    found = {"status": _STATUS_VERBS} if kind.has_status else {}
    return {**found, **_CONTAINER_STREAMS} if kind.kind == "Container" else found


def _aggregated(groups: Sequence[tuple[tuple[str, str], Sequence[ResourceType]]]) -> Object:
    items: list[Object] = []
    for (group, version), served in groups:
        resources = [_discovered(kind) for kind in served]
        one = {"version": version, "resources": resources, "freshness": "Current"}
        items.append({"metadata": {"name": group, "creationTimestamp": None}, "versions": [one]})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _discovered(kind: ResourceType) -> Object:
    response = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {
        "resource": kind.plural,
        "responseKind": response,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _VERBS,
        "shortNames": list(kind.short_names),
        "categories": list(kind.categories),
        "subresources": [
            {"subresource": name, "responseKind": response, "verbs": verbs} for name, verbs in subresources(kind).items()
        ],
    }


def _version() -> Object:
    return {
        "major": "1",
        "minor": KUBERNETES_MINOR,
        "gitVersion": f"v1.{KUBERNETES_MINOR}.0+setpoint-{__version__}",
        "setpoint": __version__,
        "platform": f"linux/{platform.machine()}",
    }
