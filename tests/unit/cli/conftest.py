"""The command line against a real API server with a store of its own, and a small agent that acts as told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from prometheus_client import CollectorRegistry

from setpoint.api.kinds import Kinds
from setpoint.api.server import ApiServer, ApiSettings
from setpoint.cli.app import main
from setpoint.drivers.clock import SystemClock, Uuids
from setpoint.testing.fake_operations import FakeOperations
from state.errors import NotFound, StateError
from state.objects import FINALIZER, Key, Object
from state.sqlite.store import SqliteStore
from state.store import Selection

T = TypeVar("T")
PHASES = {"Running": "Running", "Stopped": "Exited", "Paused": "Paused"}


@dataclass
class MiniAgent:
    """Writes the status that a container's declaration asks for, and lets deleted ones go. ``acting``: off, nobody does."""

    store: SqliteStore
    acting: bool = True
    scripted: dict[str, Object] = field(default_factory=dict)
    """Statuses by name, instead of what would be written."""

    async def run(self) -> None:
        async for event in self.store.watch(Selection("Container")):
            if event.type in ("ADDED", "MODIFIED") and self.acting and event.stored is not None:
                with contextlib.suppress(StateError):
                    await self.act(event.stored.object)

    async def act(self, obj: Object) -> None:
        meta, key = obj["metadata"], Key("Container", obj["metadata"]["namespace"], obj["metadata"]["name"])
        if meta.get("deletionTimestamp"):
            if FINALIZER in meta.get("finalizers", ()):
                await self.store.patch(key, {"metadata": {"finalizers": []}}, manager="setpoint-agent")
            return
        status = self.scripted.get(key.name) or status_of(PHASES[obj["spec"].get("runState", "Running")])
        status = {"containerID": meta["uid"].replace("-", "") + "-1", "observedGeneration": meta["generation"], **status}
        if obj.get("status") != status:
            await self.store.patch(key, {"status": status}, manager="setpoint-agent", subresource="status")


def status_of(phase: str, reason: str = "", message: str = "", **more: Any) -> Object:
    ready = "True" if phase == "Running" and not reason else "False"
    condition = {"type": "Ready", "status": ready, "reason": reason or ("Started" if ready == "True" else "Stopped")}
    return {
        "phase": phase,
        "restartCount": 0,
        "conditions": [{**condition, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        **more,
    }


@dataclass
class Result:
    code: int
    out: str
    err: str


@dataclass
class Backend:
    """The server in a thread of its own."""

    loop: asyncio.AbstractEventLoop
    operations: FakeOperations
    socket: Path
    store: SqliteStore
    agent: MiniAgent

    @staticmethod
    def status_of(phase: str, reason: str = "", message: str = "", **more: Any) -> Object:
        return status_of(phase, reason, message, **more)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def get(self, name: str, kind: str = "Container", namespace: str = "default") -> Object | None:
        try:
            return self.do(self.store.get(Key(kind, namespace, name))).object
        except NotFound:
            return None

    def make(self, name: str, **spec: Any) -> Object:
        obj = {
            "apiVersion": "setpoint.dev/v1alpha1",
            "kind": "Container",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"image": "busybox:1", **spec},
        }
        return self.do(self.store.create(obj, manager="setpoint")).object

    def status(self, name: str, status: Object) -> None:
        """As an agent would write it."""
        obj = self.get(name)
        assert obj is not None
        full = {"observedGeneration": obj["metadata"]["generation"], **status}
        key = Key("Container", "default", name)
        self.do(self.store.patch(key, {"status": full}, manager="setpoint-agent", subresource="status"))


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    # The server logs to stdout where nobody configured it, and stdout is what is looked at here.
    monkeypatch.setattr(structlog.PrintLogger, "msg", lambda *_a, **_k: None)
    for level in ("info", "warning", "error", "debug"):
        monkeypatch.setattr(structlog.PrintLogger, level, lambda *_a, **_k: None)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    # Not pytest's folder: the path of a unix socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cli") as folder:
        socket, operations = Path(folder) / "api.sock", FakeOperations()

        async def begin() -> tuple[SqliteStore, ApiServer, MiniAgent, asyncio.Task[None]]:
            store = await SqliteStore.open(tmp_path / "store.db", clock=SystemClock(), ids=Uuids())
            settings = ApiSettings(socket, metrics=CollectorRegistry())
            server = ApiServer(settings, store=store, operations=operations.all(), kinds=Kinds(), now=lambda: datetime.now(UTC))
            await server.start()
            agent = MiniAgent(store)
            return store, server, agent, asyncio.create_task(agent.run())

        store, server, agent, acting = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        monkeypatch.setenv("SETPOINT_HOST", f"unix://{socket}")
        try:
            yield Backend(loop, operations, socket, store, agent)
        finally:

            async def end() -> None:
                acting.cancel()
                await asyncio.gather(acting, return_exceptions=True)
                await server.stop()
                await store.close()

            asyncio.run_coroutine_threadsafe(end(), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs one command line in this process; ``stdin`` is what it reads there."""
    monkeypatch.setenv("SETPOINT_HOST", os.environ.get("SETPOINT_HOST", ""))

    def run(*argv: str, stdin: str = "") -> Result:
        capfd.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        file = tmp_path / "stdin"
        file.write_text(stdin)
        before, source = os.dup(0), os.open(file, os.O_RDONLY)
        os.dup2(source, 0)
        os.close(source)
        try:
            code = main(argv)
        except SystemExit as exc:
            code = int(exc.code or 0)
        finally:
            os.dup2(before, 0)
            os.close(before)
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def make(text: str, name: str = "file.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return make
