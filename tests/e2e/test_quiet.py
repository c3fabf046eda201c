"""100 containers and no change: no store write, and no containerd call beyond the resync, told by witnesses that are not ours.

The witnesses: SQLite's own data_version and the bytes of its files, containerd's own counters of the calls it served.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sqlite3
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from setpoint.testing.agent_server import CONTAINER, AgentServer, container
from setpoint.testing.containerd_server import RELEASES, ContainerdServer
from setpoint.testing.waiting import eventually

pytestmark = [pytest.mark.containerd, pytest.mark.timeout(300)]

MANY = 100
RESYNC_S = 10
SPAN_S = 45
ROW = re.compile(r'grpc_server_started_total\{[^}]*grpc_method="(\w+)",grpc_service="([\w.]+)"[^}]*\} (\d+)')
RESYNC_CALLS = {"containerd.services.containers.v1.Containers/ListStream", "containerd.services.tasks.v1.Tasks/List"}
"""The slow list that tells the truth."""


@pytest.fixture(scope="module")
def quiet() -> Iterator[tuple[AgentServer, ContainerdServer]]:
    folder = Path(tempfile.mkdtemp(prefix="sp-q-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runtime = ContainerdServer(folder / "c", RELEASES[0], metrics=f"127.0.0.1:{port}")
    asyncio.run(runtime.start())
    server = AgentServer(containerd=runtime.address, resync_s=RESYNC_S, start_budget=100)
    try:
        with server:
            server.load_busybox()
            yield server, runtime
    finally:
        asyncio.run(runtime.close())
        folder.rmdir()


def test_at_rest_nothing_is_written_and_nothing_asked(quiet: tuple[AgentServer, ContainerdServer]) -> None:
    server, runtime = quiet
    server.apply(*(container(f"c{n}", "exec sleep 100000", hostNetwork=True) for n in range(MANY)))
    eventually(lambda: _running(server) == MANY, within_s=120, what=lambda: f"{_running(server)} run")
    time.sleep(3)  # events of the starts are written behind
    stores = [sqlite3.connect(f"file:{server.data_dir}/{name}?mode=ro", uri=True) for name in ("store.db", "ledger.db")]
    before, files, calls = _versions(stores), _files(server), _calls(runtime)
    time.sleep(SPAN_S)
    after, after_files, more = _versions(stores), _files(server), _calls(runtime) - calls
    assert after == before
    assert after_files == files
    beyond = {method: count for method, count in more.items() if method not in RESYNC_CALLS}
    assert not beyond, beyond
    resyncs = SPAN_S / RESYNC_S + 2
    assert all(count <= resyncs for count in more.values()), more
    assert all(more[method] >= SPAN_S / RESYNC_S - 2 for method in RESYNC_CALLS), "the resync itself is seen: the witness sees"


def _running(server: AgentServer) -> int:
    items = server.client.list(CONTAINER)["items"]
    return sum(1 for obj in items if (obj.get("status") or {}).get("phase") == "Running")


def _versions(stores: list[sqlite3.Connection]) -> list[int]:
    return [int(store.execute("PRAGMA data_version").fetchone()[0]) for store in stores]


def _files(server: AgentServer) -> dict[str, tuple[int, int]]:
    """Size and time of change; not of the -shm files, which readers touch."""
    found = {path: os.stat(path) for path in server.data_dir.glob("*.db*") if not path.name.endswith("-shm")}
    return {path.name: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def _calls(runtime: ContainerdServer) -> Counter[str]:
    with urllib.request.urlopen(f"http://{runtime.metrics}/v1/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return Counter({f"{service}/{method}": int(count) for method, service, count in ROW.findall(text)})
