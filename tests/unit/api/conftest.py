"""A running API server on a socket of its own, and ways to speak with it."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from setpoint.api.kinds import Kinds
from setpoint.api.server import ApiServer, ApiSettings
from setpoint.testing.clock import SequentialIds
from setpoint.testing.fake_operations import FakeOperations
from state.sqlite.store import SqliteStore
from state.store import Store

NS = "/apis/setpoint.dev/v1alpha1/namespaces/default/containers"


class FixedClock:
    """It is always noon."""

    def now(self) -> datetime:
        return NOW


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Answer:
    """One HTTP answer, read whole."""

    code: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Api:
    """The server, what is behind it, and a client."""

    server: ApiServer
    store: Store
    operations: FakeOperations
    socket: Path
    http: aiohttp.ClientSession

    async def __call__(self, method: str, path: str, body: Any = None, **how: Any) -> Answer:
        kind = how.pop("type", "application/json")
        headers = {"Content-Type": kind, **how.pop("headers", {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.request(
            method, f"http://api{path}", data=data and io.BytesIO(data), headers=headers, **how
        ) as response:
            return Answer(response.status, response.headers, await response.text())

    def stream(self, path: str, **query: str) -> Any:
        """An open GET."""
        return self.http.get(f"http://api{path}", params=query)

    async def container(self, name: str = "web", **meta: Any) -> dict[str, Any]:
        """Makes one."""
        answer = await self("POST", NS, container(name, **meta))
        assert answer.code == 201, answer.text
        return answer.json


def container(name: str = "web", image: str = "docker.io/library/busybox:1", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "setpoint.dev/v1alpha1",
        "kind": "Container",
        "metadata": {"name": name, **meta},
        "spec": {"image": image},
    }


@contextlib.asynccontextmanager
async def _serving(store: Store, **settings: Any) -> AsyncIterator[Api]:
    operations = FakeOperations()
    # Not pytest's folder: the path of a unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="api") as folder:
        socket = Path(folder) / "api.sock"
        server = ApiServer(
            ApiSettings(socket, **settings), store=store, operations=operations.all(), kinds=Kinds(), now=lambda: NOW
        )
        await server.start()
        try:
            connector = aiohttp.UnixConnector(path=str(socket), limit=0)
            timeout = aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
                yield Api(server, store, operations, socket, http)
        finally:
            await server.stop()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "store.db", clock=FixedClock(), ids=SequentialIds())
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def serving() -> Any:
    """A server on a store and with settings of the test's choice."""
    return _serving


@pytest.fixture
async def api(store: Store) -> AsyncIterator[Api]:
    async with _serving(store) as running:
        yield running
