"""Watch over HTTP: what is told, when, in which form, and that nobody who has left is remembered."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from setpoint.api import watching
from state.store import WatchEvent

NS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"
MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
LIST = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}


async def told(response: Any) -> dict[str, Any]:
    """The next line."""
    line = await response.content.readline()
    assert line, "the stream ended"
    found: dict[str, Any] = json.loads(line)
    return found


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


async def put_map(api: Any, name: str, **labels: str) -> dict[str, Any]:
    answer = await api("POST", MAPS, {"metadata": {"name": name, "labels": labels}})
    assert answer.code == 201, answer.text
    return answer.json


async def test_without_a_version_what_is_there_comes_first(api: Any) -> None:
    await put_map(api, "a")
    async with api.stream(MAPS, watch="true") as response:
        assert response.status == 200
        first = await told(response)
        await put_map(api, "b")
        second = await told(response)
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in (first, second)] == [("ADDED", "a"), ("ADDED", "b")]


async def test_from_a_version_only_what_came_after_it_is_told(api: Any) -> None:
    made = await put_map(api, "a")
    await put_map(api, "b")
    async with api.stream(MAPS, watch="1", resourceVersion=made["metadata"]["resourceVersion"]) as response:
        assert (await told(response))["object"]["metadata"]["name"] == "b"
        await api("DELETE", MAPS + "/a")
        gone = await told(response)
    assert gone["type"] == "DELETED"
    assert int(gone["object"]["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def test_headers_come_before_any_change(api: Any) -> None:
    listing = (await api("GET", MAPS)).json
    async with asyncio.timeout(2), api.stream(MAPS, watch="true", resourceVersion=listing["metadata"]["resourceVersion"]) as r:
        assert r.status == 200


async def test_an_initial_list_ends_with_an_annotated_bookmark(api: Any) -> None:
    made = await put_map(api, "a")
    async with api.stream(MAPS, watch="true", **LIST) as response:
        assert (await told(response))["type"] == "ADDED"
        mark = await told(response)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "ConfigMap"
    meta = mark["object"]["metadata"]
    assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(meta["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param({"sendInitialEvents": "true"}, 422, id="initial-without-match"),
        pytest.param({"resourceVersionMatch": "Exact"}, 422, id="match-without-initial"),
        pytest.param({"resourceVersion": "abc"}, 400, id="version-no-number"),
        pytest.param({"timeoutSeconds": "-1"}, 400, id="negative-timeout"),
        pytest.param({"labelSelector": "in in"}, 400, id="bad-selector"),
        pytest.param({"fieldSelector": "data.x=1"}, 400, id="bad-field"),
    ],
)
async def test_a_watch_that_cannot_be_is_refused_before_it_begins(api: Any, query: dict[str, str], code: int) -> None:
    async with api.stream(MAPS, watch="true", **query) as response:
        assert response.status == code
        assert json.loads(await response.text())["kind"] == "Status"


async def test_a_version_from_the_future_is_an_error_event(api: Any) -> None:
    async with api.stream(MAPS, watch="true", resourceVersion="999999") as response:
        assert response.status == 200
        event = await told(response)
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await response.content.read() == b""


async def test_entering_and_leaving_a_selector_is_added_and_deleted(api: Any) -> None:
    await put_map(api, "a", tier="x")
    async with api.stream(MAPS, watch="true", labelSelector="tier=x") as response:
        assert (await told(response))["type"] == "ADDED"
        await api("PATCH", MAPS + "/a", {"metadata": {"labels": {"tier": "y"}}}, type=MERGE)
        assert (await told(response))["type"] == "DELETED"
        await api("PATCH", MAPS + "/a", {"metadata": {"labels": {"tier": "x"}}}, type=MERGE)
        assert (await told(response))["type"] == "ADDED"


async def test_one_object_by_name(api: Any) -> None:
    async with api.stream(MAPS, watch="true", fieldSelector="metadata.name=b") as response:
        await put_map(api, "a")
        await put_map(api, "b")
        assert (await told(response))["object"]["metadata"]["name"] == "b"


async def test_time_is_up_ends_the_stream_cleanly(api: Any) -> None:
    async with api.stream(MAPS, watch="true", timeoutSeconds="1") as response:
        assert await response.content.read() == b""
    assert api.server.streams == 0


async def test_quiet_streams_get_bookmarks(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_EVERY_S", 0.05)
    made = await put_map(api, "a")
    async with api.stream(MAPS, watch="true", allowWatchBookmarks="True") as response:
        assert (await told(response))["type"] == "ADDED"
        mark = await told(response)
    assert (mark["type"], mark["object"]["metadata"]["resourceVersion"]) == ("BOOKMARK", made["metadata"]["resourceVersion"])


async def test_tables_tell_their_columns_once(api: Any) -> None:
    await api.container("a")
    async with api.http.get(f"http://api{NS}", params={"watch": "true", **LIST}, headers={"Accept": TABLE}) as response:
        first, mark = await told(response), await told(response)
        await api.container("b")
        second = await told(response)
    assert first["object"]["kind"] == "Table"
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert first["object"]["rows"][0]["cells"][0] == "a"
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["rows"][0]["object"]["metadata"]["annotations"]
    assert second["object"]["columnDefinitions"] is None


async def test_a_client_that_leaves_is_forgotten_at_once(api: Any) -> None:
    async with api.stream(MAPS, watch="true"):
        await until(lambda: api.server.streams == 1)
    await until(lambda: api.server.streams == 0)


async def test_stopping_the_server_ends_watches_without_an_error(api: Any) -> None:
    async with api.stream(MAPS, watch="true") as response:
        await until(lambda: api.server.streams == 1)
        began = time.monotonic()
        stopping = asyncio.ensure_future(api.server.stop())
        assert await response.content.read() == b""
        await stopping
        assert time.monotonic() - began < 4
    assert not api.socket.exists()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of 700 connections are ours here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_500_watchers_hear_everything_in_order_and_churn_leaves_none(api: Any) -> None:
    listing = (await api("GET", MAPS)).json
    since = listing["metadata"]["resourceVersion"]

    async def listen() -> list[str]:
        async with api.stream(MAPS, watch="true", resourceVersion=since) as response:
            return [(await told(response))["object"]["metadata"]["name"] for _ in range(4)]

    async def leave() -> None:
        async with api.stream(MAPS, watch="true", resourceVersion=since):
            pass

    listeners = [asyncio.ensure_future(listen()) for _ in range(500)]
    await until(lambda: api.server.streams == 500)
    await asyncio.gather(*(leave() for _ in range(200)))
    for name in "abcd":
        await put_map(api, name)
    assert await asyncio.gather(*listeners) == [["a", "b", "c", "d"]] * 500
    await until(lambda: api.server.streams == 0)


async def test_a_watcher_that_does_not_read_is_not_buffered_for_and_misses_nothing_unsaid(api: Any) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api.socket), limit=1 << 20)
    writer.write(f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until(lambda: api.server.streams == 1)
    writer.transport.pause_reading()
    count = 120
    for n in range(count):
        await api.store.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{n:03}"}, "data": {"x": "y" * 40_000}},
            manager="m",
        )
    transports = [handler.transport for handler in api.server._runner.server.connections]
    assert max(t.get_write_buffer_size() for t in transports if t is not None) < 400_000
    writer.transport.resume_reading()
    heard: list[bytes] = []
    while len(heard) < count:
        heard += re.findall(rb'"name":"(m\d+)"', await asyncio.wait_for(reader.readuntil(b"\n"), 5))
    writer.close()
    await writer.wait_closed()
    assert heard == [b"m%03d" % n for n in range(count)]


class BrokenStore:
    """A store whose watch tells one change and then breaks in a way that nobody foresaw."""

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[WatchEvent]:
        yield WatchEvent("BOOKMARK", 7)
        raise RuntimeError("the disk is on fire")


async def test_a_break_inside_is_an_error_event_without_details(serving: Any) -> None:
    async with serving(BrokenStore()) as api, api.stream(MAPS, watch="true", allowWatchBookmarks="true") as response:
        assert (await told(response))["object"]["metadata"]["resourceVersion"] == "7"
        event = await told(response)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 500)
    assert "fire" not in json.dumps(event)
    assert "incident" in event["object"]["message"]
