"""Reading from registries: the OCI distribution protocol over aiohttp (https://github.com/opencontainers/distribution-spec).

One object per pull: it remembers the tokens it was given. Errors: Denied (who we are is not enough), NotFound, Invalid (the
registry says something impossible), Busy (with its Retry-After), Unavailable (everything that may pass).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from setpoint import __version__
from setpoint.drivers.images.archive import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST
from setpoint.drivers.images.credentials import Challenge, Credentials, parse_challenge
from state.errors import Busy, Denied, Invalid, NotFound, StateError, Unavailable
from state.references import DEFAULT_DOMAIN, Reference

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)

HUB = "registry-1.docker.io"
MAX_MANIFEST_BYTES = 4 << 20  # distribution-spec, "Pushing Manifests"
MAX_TOKEN_BYTES = 1 << 20
MAX_REDIRECTS = 5
MAX_RETRY_AFTER_S = 300
STALL_LIMIT_S = 60.0
CONNECT_LIMIT_S = 20.0
MIN_BYTES_PER_STALL = 4096
"""What must arrive within the stall limit, so that a drip does not count as life."""
READ_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as it was served."""

    digest: str
    media_type: str
    content: bytes

    @property
    def document(self) -> dict[str, Any]:
        """Raises: Invalid when it is no JSON object."""
        try:
            document = json.loads(self.content)
        except (ValueError, RecursionError) as exc:
            raise Invalid(f"manifest {self.digest} is not JSON: {exc}") from exc
        if not isinstance(document, dict):
            raise Invalid(f"manifest {self.digest} is no JSON object")
        return document


class Registry:
    """One repository of one registry, while one pull lasts: ``async with Registry(reference, credentials) as registry``."""

    def __init__(self, reference: Reference, credentials: Credentials | None = None, *, stall_s: float = STALL_LIMIT_S) -> None:
        self._reference = reference
        self._credentials = credentials
        self._stall_s = stall_s
        self._base = base_url(reference.domain)
        self._authorization = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Registry:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S, sock_read=self._stall_s)
        # Bodies are counted and hashed as they are: nothing may unpack them on the way.
        headers = {"Accept-Encoding": "identity", "User-Agent": f"setpoint/{__version__}"}
        self._session = aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def manifest(self, which: str) -> Manifest:
        """The manifest or index of a tag or digest, its digest verified."""
        url = self._url("manifests", which)
        headers = {"Accept": ", ".join(ACCEPTED)}
        async with _closing(await self._ask(url, headers)) as answer:
            content = await self._small(answer, MAX_MANIFEST_BYTES)
            media_type = answer.content_type
            told = answer.headers.get("Docker-Content-Digest", "")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        wanted = which if ":" in which else told or digest
        if wanted != digest:
            raise Invalid(f"{self._reference.repository}: asked for manifest {wanted}, the registry sent {digest}")
        return Manifest(digest, _media_type(media_type, content), content)

    async def blob(self, digest: str, size: int, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a blob from ``offset`` on; never more than ``size`` in all.

        Raises: Unavailable when it stalls or ends early: what came is good, go on from there.
        """
        if offset == size > 0:
            return
        url = self._url("blobs", digest)
        headers = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
        async with _closing(await self._ask(url, headers)) as answer:
            skip = _to_skip(answer, offset)
            seen = offset - skip
            async for chunk in self._chunks(answer):
                seen += len(chunk)
                if seen > size:
                    raise Invalid(f"blob {digest}: the registry sends more than the {size} bytes that the manifest tells")
                drop = min(skip, len(chunk))
                skip -= drop
                if chunk := chunk[drop:]:
                    yield chunk
        if seen < size:
            raise Unavailable(f"blob {digest}: the connection ended after {seen} of {size} bytes")

    # -- requests

    async def _ask(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """A 2xx answer; a challenge is answered once, redirects are followed."""
        answer = await self._follow(url, headers)
        if answer.status == 401:
            challenge = parse_challenge(", ".join(answer.headers.getall("WWW-Authenticate", ())))
            text = await _refusal(answer)
            if challenge is None:
                raise Denied(f"{url.host} refuses: {text}")
            self._authorization = await self._answer(challenge)
            answer = await self._follow(url, headers)
        if answer.status >= 300:
            raise await self._error(answer, url)
        return answer

    async def _follow(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        first = url
        for _ in range(MAX_REDIRECTS):
            sent = dict(headers)
            # The storage behind a registry is somebody else: it gets no credentials of ours.
            if self._authorization and url.origin() == first.origin():
                sent["Authorization"] = self._authorization
            answer = await self._get(url, sent)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            target = answer.headers.get("Location", "")
            answer.release()
            url = _redirected(url, target)
        raise Invalid(f"{first}: more than {MAX_REDIRECTS} redirects")

    async def _get(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        assert self._session is not None
        try:
            return await self._session.get(url, headers=headers, allow_redirects=False, proxy=_proxy(url))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise Unavailable(f"{url.host}: {_reason(exc)}") from exc

    async def _answer(self, challenge: Challenge) -> str:
        """The Authorization header that the registry asks for."""
        if challenge.scheme == "basic":
            if self._credentials is None or not self._credentials.username:
                raise Denied(f"{self._reference.domain} asks for a user name and a password")
            return self._credentials.basic
        realm = URL(challenge.parameters.get("realm", ""))
        if not realm.is_absolute() or (realm.scheme != "https" and not is_local(realm.host or "")):
            raise Invalid(f"{self._reference.domain} names {realm} to get a token from, which is no https address")
        return f"Bearer {await self._token(realm, challenge.parameters)}"

    async def _token(self, realm: URL, parameters: Mapping[str, str]) -> str:
        asked = {
            "service": parameters.get("service", ""),
            "scope": parameters.get("scope") or f"repository:{self._reference.path}:pull",
        }
        answer = await self._ask_token(realm, {key: value for key, value in asked.items() if value})
        async with _closing(answer):
            if answer.status >= 300:
                raise await self._error(answer, realm)
            try:
                document = json.loads(await self._small(answer, MAX_TOKEN_BYTES))
                token = document.get("token") or document.get("access_token")
            except (ValueError, AttributeError) as exc:
                raise Invalid(f"{realm.host}: the answer with the token is no JSON object") from exc
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise Invalid(f"{realm.host}: the answer holds no token")
        return token

    async def _ask_token(self, realm: URL, asked: Mapping[str, str]) -> aiohttp.ClientResponse:
        assert self._session is not None
        who = self._credentials
        if who is None or not who.identity_token:
            headers = {"Authorization": who.basic} if who is not None else {}
            return await self._get(realm.update_query(asked), headers)
        form = {**asked, "grant_type": "refresh_token", "refresh_token": who.identity_token, "client_id": "setpoint"}
        try:
            return await self._session.post(realm, data=form, allow_redirects=False, proxy=_proxy(realm))
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Unavailable(f"{realm.host}: {_reason(exc)}") from exc

    # -- answers

    async def _small(self, answer: aiohttp.ClientResponse, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for chunk in self._chunks(answer):
            size += len(chunk)
            if size > limit:
                raise Invalid(f"{answer.url.host}: the answer is larger than {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def _chunks(self, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body as it comes. Raises: Unavailable when it stalls, drips or breaks."""
        loop = asyncio.get_running_loop()
        since, arrived = loop.time(), 0
        while True:
            try:
                chunk = await answer.content.read(READ_BYTES)
            except (aiohttp.ClientError, TimeoutError, OSError) as exc:
                raise Unavailable(f"{answer.url.host}: {_reason(exc)}") from exc
            if not chunk:
                return
            arrived += len(chunk)
            if arrived >= MIN_BYTES_PER_STALL:
                since, arrived = loop.time(), 0
            elif loop.time() - since > self._stall_s:
                raise Unavailable(f"{answer.url.host}: fewer than {MIN_BYTES_PER_STALL} bytes came in {self._stall_s:g} s")
            yield chunk

    async def _error(self, answer: aiohttp.ClientResponse, url: URL) -> StateError:
        status, after = answer.status, retry_after_s(answer.headers.get("Retry-After", ""))
        text = f"{url.host} answers {status}: {await _refusal(answer)}"
        if status in (401, 403):
            return Denied(text)
        if status == 404:
            return NotFound(f"{self._reference.familiar} is not in the registry: {text}")
        if status == 429:
            return Busy(text, retry_after_s=after)
        if status == 408 or status >= 500:
            return Unavailable(text, retry_after_s=after)
        return Invalid(text)

    def _url(self, sort: str, which: str) -> URL:
        return self._base / "v2" / self._reference.path / sort / which


@contextlib.asynccontextmanager
async def _closing(answer: aiohttp.ClientResponse) -> AsyncIterator[aiohttp.ClientResponse]:
    """The connection ends with the block unless the body was read to its end; aiohttp's own way would read on first."""
    try:
        yield answer
    finally:
        answer.close()


def base_url(domain: str) -> URL:
    """Plain HTTP for this very host, https for every other; Docker Hub serves under another name."""
    host = HUB if domain == DEFAULT_DOMAIN else domain
    scheme = "http" if is_local(URL(f"//{host}").host or "") else "https"
    return URL(f"{scheme}://{host}")


def is_local(host: str) -> bool:
    """Whether a host name means this host: then nobody is between."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _proxy(url: URL) -> str | None:
    """By the usual variables (HTTPS_PROXY, NO_PROXY...). aiohttp's own way would also send what it finds in a .netrc."""
    host = url.host or ""
    if is_local(host) or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(url.scheme)


def retry_after_s(value: str) -> int:
    """Seconds of a Retry-After header, at most 300; 0 when there are none (a date is left to our own back-off)."""
    text = value.strip()
    return min(int(text[:9]), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0


def _redirected(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError as exc:
        raise Invalid(f"{url.host} redirects to {location!r}, which is no address") from exc
    if not location or target.scheme not in ("http", "https"):
        raise Invalid(f"{url.host} redirects to {location!r}, which is no address")
    if url.scheme == "https" and target.scheme != "https":
        raise Invalid(f"{url.host} redirects from https to {target.scheme}, which is refused")
    return target.with_user(None)


def _to_skip(answer: aiohttp.ClientResponse, offset: int) -> int:
    """How many bytes at the begin of this body we have already: a server may ignore Range."""
    if offset == 0 or answer.status != 206:
        return offset
    begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if begins is None or int(begins.group(1)) > offset:
        raise Invalid(f"{answer.url.host} answers with another range than it was asked for")
    return offset - int(begins.group(1))


def _media_type(header: str, content: bytes) -> str:
    """The document's own word where it has one, since servers of plain files send something general."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise Invalid(f"the manifest is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise Invalid("the manifest is no JSON object")
    if document.get("schemaVersion") == 1:
        raise Invalid("the image has a manifest of schema 1, which nobody has written since 2017: push it again")
    told = document.get("mediaType") or header
    if told in ACCEPTED:
        return str(told)
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """What the registry says to a refusal, one line; its own words are foreign and are cut short."""
    try:
        body = await answer.content.read(64 << 10)
        errors = json.loads(body)["errors"]
        text = "; ".join(str(error.get("message") or error.get("code")) for error in errors)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError, AttributeError):
        text = answer.reason or "no reason given"
    finally:
        answer.close()
    return " ".join(text.split())[:200]


def _reason(exc: BaseException) -> str:
    return "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
