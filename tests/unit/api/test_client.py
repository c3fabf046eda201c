"""The command line's client against the real server."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from setpoint.client import JSON_PATCH, AgentUnreachable, Client, object_path, socket_path
from state.errors import AlreadyExists, BadRequest, Gone, InDoubt, Invalid, NotFound, TooLarge
from state.resources.types import by_kind

CONTAINER, CONFIG, IMAGE = by_kind("Container"), by_kind("ConfigMap"), by_kind("Image")
assert CONTAINER is not None
assert CONFIG is not None
assert IMAGE is not None


def config(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "b"}}


@pytest.fixture
def client(api: Any) -> Client:
    return Client(f"unix://{api.socket}", timeout_s=5)


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ((CONTAINER,), "/apis/setpoint.dev/v1alpha1/containers"),
        ((CONTAINER, "ns"), "/apis/setpoint.dev/v1alpha1/namespaces/ns/containers"),
        ((CONTAINER, "ns", "web", "log"), "/apis/setpoint.dev/v1alpha1/namespaces/ns/containers/web/log"),
        ((CONFIG, "ns", "a"), "/api/v1/namespaces/ns/configmaps/a"),
        ((IMAGE, "ns", "a"), "/apis/setpoint.dev/v1alpha1/images/a"),
        ((CONTAINER, "a/b", "../c?d"), "/apis/setpoint.dev/v1alpha1/namespaces/a%2Fb/containers/..%2Fc%3Fd"),
    ],
)
def test_paths(parts: Any, path: str) -> None:
    assert object_path(*parts) == path


def test_hosts() -> None:
    assert socket_path("unix:///a/b.sock") == socket_path("/a/b.sock") == "/a/b.sock"
    with pytest.raises(BadRequest, match="unix:///"):
        socket_path("tcp://localhost:1")


async def test_objects(client: Client) -> None:
    def work() -> None:
        made = client.create(CONFIG, config("a", t="x"))
        assert client.get(CONFIG, "default", "a") == made
        client.create(CONFIG, config("b"))
        assert [o["metadata"]["name"] for o in client.list(CONFIG, "default")["items"]] == ["a", "b"]
        assert [o["metadata"]["name"] for o in client.list(CONFIG, labels="t=x")["items"]] == ["a"]
        changed = client.patch(CONFIG, "default", "a", {"data": {"a": "c"}})
        assert changed["data"] == {"a": "c"}
        again = client.patch(CONFIG, "default", "a", [{"op": "add", "path": "/data/n", "value": "1"}], type=JSON_PATCH)
        assert again["data"] == {"a": "c", "n": "1"}
        again["data"] = {}
        assert client.replace(CONFIG, again)["metadata"]["resourceVersion"] != again["metadata"]["resourceVersion"]
        assert client.delete(CONFIG, "default", "a", gracePeriodSeconds=1)["status"] == "Success"
        results = client.apply([config("c")], applySet={"name": "s", "prune": True})
        assert [result["outcome"] for result in results] == ["created"]
        assert client.create(CONFIG, config("dry"), dry_run=True)["metadata"]["name"] == "dry"

    await asyncio.to_thread(work)


async def test_errors_are_those_of_the_api(client: Client) -> None:
    def work() -> None:
        client.create(CONFIG, config("a"))
        with pytest.raises(NotFound) as missing:
            client.get(CONFIG, "default", "no")
        assert missing.value.name == "no"
        with pytest.raises(AlreadyExists):
            client.create(CONFIG, config("a"))
        with pytest.raises(Invalid) as invalid:
            client.create(CONFIG, config("Bad_Name"))
        assert invalid.value.causes[0].field == "metadata.name"
        with pytest.raises(Gone):
            next(client.watch(CONFIG, since="999999"))

    await asyncio.to_thread(work)


async def test_a_body_that_is_refused_before_its_end_is_told_why(client: Client) -> None:
    def work() -> None:
        with pytest.raises(TooLarge):
            client.create(CONFIG, {**config("a"), "data": {"a": "x" * (20 << 20)}})

    await asyncio.to_thread(work)


async def test_watch(api: Any, client: Client) -> None:
    def work() -> None:
        client.create(CONFIG, config("a"))
        changes = client.watch(CONFIG, "default")
        first = next(changes)
        assert first.object["metadata"]["name"] == "a"
        client.create(CONFIG, config("b"))
        second = next(changes)
        assert (second.type, second.object["metadata"]["name"]) == ("ADDED", "b")
        changes.close()
        since = first.object["metadata"]["resourceVersion"]
        assert [c.object["metadata"]["name"] for c in client.watch(CONFIG, since=since, timeout_s=1)] == ["b"]

    await asyncio.to_thread(work)


async def test_streams(api: Any, client: Client) -> None:
    api.operations.containers.lines = [b"one\n", b"two\n"]

    def work() -> None:
        client.apply([container("web")])
        assert b"".join(client.logs(CONTAINER, "default", "web", tailLines=5, follow=False)) == b"one\ntwo\n"
        assert client.load_image(io.BytesIO(b"x" * 5_000_000)) == ["loaded:latest"]
        steps = list(client.lines("POST", "/setpoint/v1/images/pull", body={"reference": "x:1"}))
        assert steps[-1]["digest"].startswith("sha256:")
        assert client.request("GET", "/readyz") == "ok"
        with pytest.raises(NotFound):
            list(client.logs(CONTAINER, "default", "no"))

    await asyncio.to_thread(work)
    assert api.operations.images.loaded_bytes == 5_000_000
    assert api.operations.containers.log_requests[0].tail_lines == 5


def container(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {"name": name},
        "spec": {"image": "docker.io/library/busybox:1"},
    }


def test_no_agent_is_said_with_its_reason() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "api.sock"
        with pytest.raises(AgentUnreachable, match="no such socket"):
            Client(str(path)).request("GET", "/readyz")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
        with pytest.raises(AgentUnreachable, match="not running"):
            Client(str(path)).request("GET", "/readyz")


@pytest.mark.parametrize(("method", "error"), [("GET", AgentUnreachable), ("POST", InDoubt)])
def test_an_agent_that_does_not_answer(method: str, error: type[Exception]) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as deaf:
        path = Path(folder) / "api.sock"
        deaf.bind(str(path))
        deaf.listen()
        with pytest.raises(error, match=r"did not answer within 0\.1 s"):
            Client(str(path), timeout_s=0.1).request(method, "/x", body={})


def test_importing_the_client_brings_no_large_library() -> None:
    heavy = ("aiohttp", "pydantic", "sqlalchemy", "grpc", "orjson", "structlog")
    code = f"import sys, setpoint.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
