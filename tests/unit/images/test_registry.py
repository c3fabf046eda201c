"""Reading from a registry that misbehaves, over real sockets on the loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from setpoint.drivers.images import registry as module
from setpoint.drivers.images.credentials import Credentials
from setpoint.drivers.images.registry import Registry, base_url, is_local, retry_after_s
from setpoint.testing.images import SmallImage, digest
from setpoint.testing.registry_server import RegistryServer
from state.errors import Busy, Denied, Invalid, NotFound, StateError, Unavailable
from state.references import Reference, parse

IMAGE = SmallImage(b"layer" * 10_000, {"Cmd": ["sh"]}, architecture="amd64")
LAYER = digest(IMAGE.layer)
SIZE = len(IMAGE.layer)
WHO = Credentials("user", "secret")


@pytest.fixture
async def server() -> AsyncIterator[RegistryServer]:
    async with RegistryServer() as made:
        made.add("team/app", "1", IMAGE)
        yield made


def _reference(server: RegistryServer) -> Reference:
    return parse(f"{server.domain}/team/app:1")


async def _blob(server: RegistryServer, offset: int = 0, *, who: Credentials | None = None, stall_s: float = 10) -> bytes:
    async with Registry(_reference(server), who, stall_s=stall_s) as registry:
        return b"".join([chunk async for chunk in registry.blob(LAYER, SIZE, offset)])


async def _gather(server: RegistryServer, into: bytearray) -> None:
    async with Registry(_reference(server)) as registry:
        async for chunk in registry.blob(LAYER, SIZE):
            into += chunk


async def _manifest(server: RegistryServer, which: str = "1", who: Credentials | None = None) -> bytes:
    async with Registry(_reference(server), who) as registry:
        return (await registry.manifest(which)).content


async def test_manifest_by_tag_and_digest(server: RegistryServer) -> None:
    async with Registry(_reference(server)) as registry:
        by_tag = await registry.manifest("1")
        assert by_tag.digest == digest(IMAGE.manifest_bytes)
        assert by_tag.media_type == module.OCI_MANIFEST
        assert by_tag.document["config"]["digest"] == digest(IMAGE.config_bytes)
        assert await registry.manifest(by_tag.digest) == by_tag


@pytest.mark.parametrize("offset", [0, 1, SIZE - 1])
@pytest.mark.parametrize("ignore", [False, True])
async def test_a_blob_from_where_it_ended(server: RegistryServer, offset: int, ignore: bool) -> None:
    server.faults.ignore_range = ignore
    assert await _blob(server, offset) == IMAGE.layer[offset:]


async def test_a_cut_connection_gives_what_came_and_then_says_so(server: RegistryServer) -> None:
    server.faults.cut_after[LAYER] = [30_000]
    got = bytearray()
    with pytest.raises(Unavailable):
        await _gather(server, got)
    assert IMAGE.layer.startswith(bytes(got))
    assert bytes(got) + await _blob(server, len(got)) == IMAGE.layer


async def test_another_range_than_asked_is_refused(server: RegistryServer) -> None:
    server.faults.wrong_range = True
    with pytest.raises(Invalid, match="another range"):
        await _blob(server, 100)


async def test_a_server_that_sends_without_end_is_cut(server: RegistryServer) -> None:
    server.faults.too_long.add(LAYER)
    with pytest.raises(Invalid, match="more than"):
        await _blob(server)


@pytest.mark.parametrize("sort", ["silent", "dripped"])
async def test_stalls_and_drips_end(server: RegistryServer, sort: str) -> None:
    getattr(server.faults, sort).add(LAYER)
    with pytest.raises(Unavailable, match=r"in time|bytes came in 0\.2 s"):
        await _blob(server, stall_s=0.2)


@pytest.mark.parametrize(
    ("status", "headers", "error", "after"),
    [
        (429, {"Retry-After": "7"}, Busy, 7),
        (429, {}, Busy, 0),
        (503, {"Retry-After": "99999"}, Unavailable, 300),
        (500, {"Retry-After": "soon"}, Unavailable, 0),
        (408, {}, Unavailable, 0),
        (403, {}, Denied, 0),
        (401, {}, Denied, 0),
        (404, {}, NotFound, 0),
        (418, {}, Invalid, 0),
        (400, {}, Invalid, 0),
    ],
)
async def test_answers_are_translated(
    server: RegistryServer, status: int, headers: dict[str, str], error: type[StateError], after: int
) -> None:
    server.faults.answers.append((status, headers))
    with pytest.raises(error, match="made to fail") as caught:
        await _manifest(server)
    assert caught.value.retry_after_s == after


async def test_nobody_there_is_unavailable() -> None:
    async with Registry(parse("127.0.0.1:1/x")) as registry:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
            await registry.manifest("1")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_challenges_are_answered(server: RegistryServer, auth: str) -> None:
    server.auth = auth  # type: ignore[assignment]
    assert await _manifest(server, who=WHO) == IMAGE.manifest_bytes
    assert await _blob(server, who=WHO) == IMAGE.layer


async def test_a_token_is_asked_for_once_and_told_the_scope(server: RegistryServer) -> None:
    server.auth = "bearer"
    async with Registry(_reference(server), WHO) as registry:
        await registry.manifest("1")
        await registry.manifest("1")
    asked = [request.path for request in server.requests if request.path.startswith("/token")]
    assert asked == ["/token?service=registry&scope=repository:team/app:pull"]


async def test_an_identity_token_is_refreshed(server: RegistryServer) -> None:
    server.auth = "bearer"
    assert await _manifest(server, who=Credentials(identity_token="refresh-me")) == IMAGE.manifest_bytes
    assert "refresh_token:refresh-me" in [request.authorization for request in server.requests]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("who", [None, Credentials("user", "wrong"), Credentials(identity_token="stale")])
async def test_wrong_credentials_are_denied_at_once(server: RegistryServer, auth: str, who: Credentials | None) -> None:
    server.auth = auth  # type: ignore[assignment]
    with pytest.raises(Denied):
        await _manifest(server, who=who)
    assert len(server.requests) <= 2


async def test_credentials_are_not_sent_unasked(server: RegistryServer) -> None:
    await _manifest(server, who=WHO)
    assert [request.authorization for request in server.requests] == [""]


async def test_a_token_from_a_strange_place_is_not_asked_for(server: RegistryServer) -> None:
    server.auth, server.faults.realm = "bearer", "http://token.example/t"
    with pytest.raises(Invalid, match="no https address"):
        await _manifest(server, who=WHO)


async def test_storage_elsewhere_gets_no_credentials(server: RegistryServer) -> None:
    async with RegistryServer() as storage:
        storage.put_blob(IMAGE.layer)
        server.auth, server.faults.blobs_at = "basic", f"http://{storage.domain}/store/"
        assert await _blob(server, 10, who=WHO) == IMAGE.layer[10:]
        assert [request.authorization for request in storage.requests] == [""]
        assert storage.requests[0].range == f"bytes=10-{SIZE - 1}"


@pytest.mark.parametrize("target", ["ftp://x/", "", "http://[::bad/", "file:///etc/passwd?"])
async def test_redirects_to_nowhere(server: RegistryServer, target: str) -> None:
    server.faults.answers.append((307, {"Location": target}))
    with pytest.raises(Invalid, match="no address"):
        await _manifest(server)


async def test_redirects_end(server: RegistryServer) -> None:
    server.faults.answers += [(307, {"Location": "/v2/team/app/manifests/1"})] * 10
    with pytest.raises(Invalid, match="more than 5 redirects"):
        await _manifest(server)


def test_https_is_never_left() -> None:
    https, http = module.URL("https://a/x"), module.URL("http://a/x")
    with pytest.raises(Invalid, match="from https to http"):
        module._redirected(https, "http://a/y")
    assert str(module._redirected(http, "https://u:p@b/y")) == "https://b/y"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object"),
        (json.dumps({"schemaVersion": 1, "fsLayers": []}).encode(), "schema 1"),
        (b" " * (module.MAX_MANIFEST_BYTES + 1), "larger than"),
    ],
)
async def test_manifests_that_are_none(server: RegistryServer, content: bytes, says: str) -> None:
    server.put("team/app", "1", content)
    with pytest.raises(Invalid, match=says):
        await _manifest(server)


async def test_a_manifest_with_other_bytes_than_its_digest(server: RegistryServer) -> None:
    wanted = digest(IMAGE.manifest_bytes)
    server.put("team/app", wanted, IMAGE.manifest_bytes + b" ")
    with pytest.raises(Invalid, match="asked for manifest"):
        await _manifest(server, wanted)


@pytest.mark.parametrize(
    ("domain", "url"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("quay.io", "https://quay.io"),
        ("localhost", "http://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.2:5000", "http://127.0.0.2:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("localhost.example:5000", "https://localhost.example:5000"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
    ],
)
def test_only_this_host_is_asked_in_the_clear(domain: str, url: str) -> None:
    assert str(base_url(domain)) == url


@pytest.mark.parametrize(
    ("host", "local"), [("127.1.2.3", True), ("::1", True), ("128.0.0.1", False), ("local", False), ("", False)]
)
def test_local(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), (" 5 ", 5), ("", 0), ("-1", 0), ("9" * 50, 300), ("٣", 0), ("x", 0)])
def test_retry_after(text: str, seconds: int) -> None:
    assert retry_after_s(text) == seconds


def test_proxies_by_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "quay.io")
    assert module._proxy(module.URL("https://other.io/x")) == "http://proxy:3128"
    assert module._proxy(module.URL("https://quay.io/x")) is None
    assert module._proxy(module.URL("http://127.0.0.1/x")) is None
