"""``/setpoint/v1``: plans, images, orphans, the node."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from setpoint.api import bodies
from setpoint.api.operations import ImageRow, Orphan
from state.errors import Unavailable

V1 = "/setpoint/v1"


def container(name: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {"name": name},
        "spec": {"image": "docker.io/library/busybox:1"},
    }


async def test_a_plan_is_made_of_complete_objects_and_changes_nothing(api: Any) -> None:
    before = (await api("GET", "/apis/setpoint.dev/v1alpha1/containers")).text
    answer = await api("POST", f"{V1}/plan", {"objects": [container()]})
    assert answer.code == 200, answer.text
    plan = answer.json["plans"][0]
    assert (plan["kind"], plan["namespace"], plan["name"]) == ("Container", "default", "web")
    assert plan["actions"] == [{"do": "CreateRecord", "text": "make it"}]
    assert (plan["replaces"], plan["waits"]) == (False, "")
    planned = api.operations.node.planned[0]
    assert planned["spec"]["runState"] == "Running"
    assert planned["metadata"]["uid"]
    assert (await api("GET", "/apis/setpoint.dev/v1alpha1/containers")).text == before


async def test_a_plan_of_what_cannot_be_is_refused(api: Any) -> None:
    wrong = container()
    wrong["spec"]["imagee"] = "x"
    assert (await api("POST", f"{V1}/plan", {"objects": [wrong]})).code in (400, 422)


async def test_images(api: Any) -> None:
    rows = api.operations.images.rows
    rows["a:1"] = ImageRow("a:1", "sha256:1", 12, "2026-01-01T00:00:00Z", ("default/web",))
    rows["b:1"] = ImageRow("b:1", "sha256:2", 13, "2026-01-01T00:00:00Z")
    items = (await api("GET", f"{V1}/images")).json["items"]
    assert items[0] == {
        "reference": "a:1",
        "digest": "sha256:1",
        "sizeBytes": 12,
        "createdAt": "2026-01-01T00:00:00Z",
        "usedBy": ["default/web"],
    }
    assert (await api("DELETE", f"{V1}/images?reference=b:1")).json["status"] == "Success"
    assert (await api("DELETE", f"{V1}/images?reference=b:1")).code == 404
    assert (await api("DELETE", f"{V1}/images?reference=a:1")).code == 409
    assert (await api("DELETE", f"{V1}/images")).code == 400


async def test_an_archive_of_any_size_goes_through_in_pieces(api: Any) -> None:
    async def archive() -> Any:
        for _ in range(20):
            yield b"x" * (1 << 20)

    async with api.http.post(f"http://api{V1}/images/load", data=archive()) as response:
        assert json.loads(await response.text()) == {"references": ["loaded:latest"]}
    assert api.operations.images.loaded_bytes == 20 << 20


async def test_an_archive_that_stops_coming_is_given_up(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_S", 0.05)
    reader, writer = await asyncio.open_unix_connection(str(api.socket))
    writer.write(b"POST /setpoint/v1/images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhalf")
    assert b"400" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()


async def test_a_pull_tells_how_far_it_is(api: Any) -> None:
    answer = await api("POST", f"{V1}/images/pull", {"reference": "x:1", "credentials": {"username": "u", "password": "p"}})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[1] == {"status": "fetching", "done": 50, "total": 100}
    assert lines[-1]["reference"] == "x:1"
    assert lines[-1]["digest"].startswith("sha256:")


async def test_a_pull_that_fails_ends_with_the_error(api: Any) -> None:
    api.operations.images.pull_failure = Unavailable("registry.example.com does not answer")
    answer = await api("POST", f"{V1}/images/pull", {"reference": "x:1"})
    last = json.loads(answer.text.splitlines()[-1])
    assert last["error"] == "registry.example.com does not answer"
    assert last["status"]["code"] == 503
    assert (await api("POST", f"{V1}/images/pull", {})).code == 400
    assert (await api("POST", f"{V1}/images/pull", {"reference": "x", "credentials": 3})).code == 400


async def test_orphans(api: Any) -> None:
    rows = api.operations.orphans.rows
    rows["u-1"] = Orphan("u-1", "u", "default", "lost", "RUNNING", 7)
    rows["v-1"] = Orphan("v-1", "v", "default", "other", "STOPPED")
    items = (await api("GET", f"{V1}/orphans")).json["items"]
    assert [(item["id"], item["name"], item["pid"]) for item in items] == [("u-1", "lost", 7), ("v-1", "other", 0)]
    adopted = await api("POST", f"{V1}/orphans/u-1/adopt")
    assert adopted.json == {"kind": "Container", "namespace": "default", "name": "lost"}
    assert (await api("DELETE", f"{V1}/orphans/v-1")).json["status"] == "Success"
    assert (await api("DELETE", f"{V1}/orphans/v-1")).code == 404


async def test_info_and_doctor(api: Any) -> None:
    assert (await api("GET", f"{V1}/info")).json == {"name": "fake"}
    check = (await api("GET", f"{V1}/doctor")).json["checks"][0]
    assert check == {"name": "root", "ok": True, "found": "uid 0", "need": "uid 0", "severity": "error"}
