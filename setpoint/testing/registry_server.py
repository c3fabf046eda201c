"""A registry on the loopback for tests, which can misbehave in the ways that real ones and the networks before them do.

What it gets wrong: nobody can push, names and digests are not checked, and every user may read everything.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from aiohttp import web

from setpoint.testing.images import SmallImage, descriptor, digest
from state.objects import Object

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DRIP_S = 0.02


@dataclass(slots=True)
class Faults:
    """What goes wrong, per blob digest or for the next requests. Consumed as it happens where it is a list."""

    cut_after: dict[str, list[int]] = field(default_factory=dict)
    """The connection ends after that many bytes of the body, once per entry."""
    flipped: set[str] = field(default_factory=set)
    """Served with a wrong byte, for ever."""
    flipped_once: set[str] = field(default_factory=set)
    dripped: set[str] = field(default_factory=set)
    """A byte now and then."""
    silent: set[str] = field(default_factory=set)
    """The head of an answer, and then nothing."""
    too_long: set[str] = field(default_factory=set)
    ignore_range: bool = False
    wrong_range: bool = False
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """(status, headers) of the next requests under ``/v2/``."""
    blobs_at: str = ""
    """Blobs are redirected to this address, followed by the digest."""
    realm: str = ""
    """Where the token is said to be had; empty = here."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came: ``header`` values are empty where there was none."""

    path: str
    authorization: str
    range: str


class RegistryServer:
    """``async with RegistryServer() as server``: serves on ``server.domain`` until the block ends."""

    def __init__(self, auth: Literal["", "basic", "bearer"] = "", user: str = "user", password: str = "secret") -> None:
        self.auth = auth
        self.user = user
        self.password = password
        self.identity_token = "refresh-me"
        self.faults = Faults()
        self.requests: list[Request] = []
        self.domain = ""
        self._documents: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._blobs: dict[str, bytes] = {}
        self._runner: web.AppRunner | None = None

    def add(self, repository: str, tag: str, image: SmallImage, others: Sequence[Object] = (), *, index: bool = False) -> str:
        """Offers an image; returns the digest that the tag stands for. ``index``: behind an index with these ``others``."""
        self._blobs[digest(image.layer)] = image.layer
        self._blobs[digest(image.config_bytes)] = image.config_bytes
        top, media_type = image.manifest_bytes, MANIFEST
        self.put(repository, digest(top), top, media_type)
        if index:
            entry = {**descriptor(top, MANIFEST), "platform": {"os": "linux", "architecture": image.architecture}}
            document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, entry]}
            top, media_type = json.dumps(document).encode(), INDEX
            self.put(repository, digest(top), top, media_type)
        self.put(repository, tag, top, media_type)
        return digest(top)

    def put(self, repository: str, which: str, content: bytes, media_type: str = MANIFEST) -> None:
        """Offers any document under a tag or digest."""
        self._documents[repository, which] = (content, media_type)

    def put_blob(self, content: bytes) -> str:
        self._blobs[digest(content)] = content
        return digest(content)

    async def __aenter__(self) -> RegistryServer:
        app = web.Application()
        app.router.add_get("/v2/{name:.+}/manifests/{which}", self._manifest)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        app.router.add_get("/store/{digest}", self._stored)
        app.router.add_get("/token", self._token)
        app.router.add_post("/token", self._oauth)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.domain = f"127.0.0.1:{int(self._runner.addresses[0][1])}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _refusal(self, request: web.Request) -> web.Response | None:
        authorization = request.headers.get("Authorization", "")
        self.requests.append(Request(request.path, authorization, request.headers.get("Range", "")))
        if self.faults.answers:
            status, headers = self.faults.answers.pop(0)
            return _error(status, "made to fail", headers)
        if self.auth == "basic" and authorization != self._basic():
            return _error(401, "who are you", {"WWW-Authenticate": 'Basic realm="here"'})
        if self.auth == "bearer" and authorization != "Bearer t0ken":
            realm = self.faults.realm or f"http://{self.domain}/token"
            scope = f"repository:{request.match_info['name']}:pull"
            challenge = f'Bearer realm="{realm}",service="registry",scope="{scope}"'
            return _error(401, "no token", {"WWW-Authenticate": challenge})
        return None

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    async def _token(self, request: web.Request) -> web.Response:
        self.requests.append(Request(request.path_qs, request.headers.get("Authorization", ""), ""))
        if request.headers.get("Authorization", "") != self._basic():
            return _error(401, "wrong password")
        return web.json_response({"token": "t0ken", "expires_in": 60})

    async def _oauth(self, request: web.Request) -> web.Response:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        self.requests.append(Request(request.path, f"{form.get('grant_type')}:{form.get('refresh_token')}", ""))
        if form.get("refresh_token") != self.identity_token:
            return _error(401, "wrong token")
        return web.json_response({"access_token": "t0ken"})

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        found = self._documents.get((request.match_info["name"], request.match_info["which"]))
        if found is None:
            return _error(404, "manifest unknown")
        content, media_type = found
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest(content)}
        return web.Response(body=content, headers=headers)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request):
            return refusal
        wanted = request.match_info["digest"]
        if self.faults.blobs_at:
            return web.Response(status=307, headers={"Location": self.faults.blobs_at + wanted})
        return await self._serve(request, wanted)

    async def _stored(self, request: web.Request) -> web.StreamResponse:
        """A blob as the storage behind another registry serves it: to anybody."""
        headers = request.headers
        self.requests.append(Request(request.path, headers.get("Authorization", ""), headers.get("Range", "")))
        return await self._serve(request, request.match_info["digest"])

    async def _serve(self, request: web.Request, wanted: str) -> web.StreamResponse:
        content = self._blobs.get(wanted)
        if content is None:
            return _error(404, "blob unknown")
        faults = self.faults
        if wanted in faults.flipped or wanted in faults.flipped_once:
            faults.flipped_once.discard(wanted)
            content = content[:-1] + bytes([content[-1] ^ 1])
        if wanted in faults.too_long:
            content += b"more" * 5000
        begin = 0 if faults.ignore_range else int(request.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        answer = web.StreamResponse(status=206 if begin else 200)
        body = content[begin:]
        if begin:
            told = begin + 7 if faults.wrong_range else begin
            answer.headers["Content-Range"] = f"bytes {told}-{len(content) - 1}/{len(content)}"
        answer.content_length = len(body)
        await answer.prepare(request)
        return await self._body(request, answer, wanted, body)

    async def _body(self, request: web.Request, answer: web.StreamResponse, wanted: str, body: bytes) -> web.StreamResponse:
        faults = self.faults
        if wanted in faults.silent:
            await asyncio.sleep(3600)
        if cuts := faults.cut_after.get(wanted):
            await answer.write(body[: cuts.pop(0)])
            await asyncio.sleep(0.05)  # what was written is to leave before the connection dies
            if request.transport is not None:
                request.transport.abort()
            return answer
        if wanted in faults.dripped:
            for byte in body:
                await answer.write(bytes([byte]))
                await asyncio.sleep(DRIP_S)
        await answer.write(body)
        return answer


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"errors": [{"code": "TEST", "message": message}]}
    return web.json_response(body, status=status, headers=headers)
