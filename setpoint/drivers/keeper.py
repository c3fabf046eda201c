"""The agent's side of ``keeper.sock``: finds the keeper of a run dir, or starts one that outlives the agent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import setpoint
from state import errors
from state.errors import InDoubt, StateError, Unavailable

Document = dict[str, Any]

START_PATIENCE_S = 10.0
_POLL_S = 0.02
_SOURCE = str(Path(setpoint.__file__).resolve().parent.parent)


@dataclass(frozen=True, slots=True)
class PrivateContainerd:
    """``address``: the path of its socket."""

    address: str
    version: str
    pid: int


class KeeperClient:
    """Talks to the keeper of ``run_dir``. ``containerd``: the program that a keeper started by us runs when asked; None:
    none."""

    def __init__(
        self, data_dir: Path, run_dir: Path, *, containerd: str | None = "containerd", log_links: Path | None = None
    ) -> None:
        self._data_dir = data_dir
        self._run_dir = run_dir
        self._containerd = containerd
        self._log_links = log_links

    async def connect_or_start(self) -> Document:
        """The keeper's status; one is started if there is none, and its pump answers. Raises Unavailable."""
        try:
            status = await self.status()
        except Unavailable:
            await self._start()
            status = {}
        deadline = asyncio.get_running_loop().time() + START_PATIENCE_S
        while not (status and status["children"]["pump"]["ready"]):
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"the keeper does not get ready; see the logs in {self._data_dir}/keeper")
            await asyncio.sleep(_POLL_S)
            try:
                status = await self.status()
            except Unavailable:
                status = {}
        return status

    async def status(self) -> Document:
        """``{version, pid, data_dir, run_dir, supervised, held, children: {name: {state, pid, restarts, since, adopted,
        last_exit, version, socket, ready}}}``; ``supervised``: a unit runs it. Raises Unavailable when there is no keeper."""
        return await self._ask({"op": "status"})

    async def ensure_containerd(self) -> PrivateContainerd:
        """The private containerd runs and answers. Idempotent. Raises Unavailable, Invalid (this keeper may not run one)."""
        reply = await self._ask({"op": "ensure_containerd"}, timeout_s=40)
        return PrivateContainerd(reply["address"], reply["version"], reply["pid"])

    async def upgrade_pump(self) -> int:
        """Replaces the pump by one of the present code, without losing a byte; its pid."""
        return int((await self._ask({"op": "upgrade_pump"}, timeout_s=40))["pid"])

    async def stop(self, *, containerd: bool) -> None:
        """Ends the pump, the keeper and, if asked, the private containerd. For uninstall, reset and tests: containers that go
        on running wait as soon as their output is not taken any more. No keeper is fine."""
        try:
            await self._ask({"op": "stop", "containerd": containerd}, timeout_s=40)
        except Unavailable:
            return

    async def _ask(self, request: Document, timeout_s: float = 10) -> Document:
        return await ask(self._run_dir / "keeper.sock", request, timeout_s=timeout_s)

    async def _start(self) -> None:
        """In a session of its own, and no child of ours: neither our end nor a terminal's reaches it."""
        argv = [sys.executable, "-S", "-B", "-m", "setpoint.keeper", "--detach"]
        argv += ["--data-dir", str(self._data_dir), "--run-dir", str(self._run_dir)]
        argv += ["--no-containerd"] if self._containerd is None else ["--containerd", self._containerd]
        if self._log_links is not None:
            argv += ["--log-links", str(self._log_links)]
        # Without ``site`` (-S) it needs to be told where our packages are. The socket of a unit is for us, not for it.
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, env={**environment, "PYTHONPATH": _SOURCE}, stdin=nothing, stderr=pipe
            )
        except OSError as failure:  # no descriptor, process or memory left: that passes
            raise Unavailable(f"the keeper cannot be started: {failure}") from failure
        _, complaint = await process.communicate()
        if process.returncode:
            raise Unavailable(f"the keeper cannot be started: {complaint.decode(errors='replace').strip()}")


async def ask(path: Path, request: Document, *, timeout_s: float = 10) -> Document:
    """One request on a connection of its own. Raises Unavailable (nobody there), InDoubt (no answer), or what is answered."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except OSError as failure:
        raise Unavailable(f"nobody answers on {path}: {failure.strerror or failure}") from failure
    try:
        async with asyncio.timeout(timeout_s):
            return await exchange(reader, writer, request)
    except TimeoutError as late:
        raise InDoubt(f"no answer on {path} to {request['op']} within {timeout_s:g} s") from late
    except OSError as failure:
        raise InDoubt(f"{path} hung up on {request['op']}") from failure
    finally:
        writer.close()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Document) -> Document:
    """One request, one reply. Raises ConnectionError when the other side goes away, and the error that the reply tells."""
    writer.write(json.dumps(request).encode() + b"\n")
    await writer.drain()
    return await answer(reader)


async def answer(reader: asyncio.StreamReader) -> Document:
    """The reply to a request that was sent. Raises as :func:`exchange`."""
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("hung up")
    reply = json.loads(line)
    if not reply.get("ok"):
        raise _error(reply)
    return dict(reply)


def _error(reply: Document) -> StateError:
    kind = getattr(errors, str(reply.get("error")), StateError)
    if not (isinstance(kind, type) and issubclass(kind, StateError)):
        kind = StateError
    return kind(str(reply.get("message", "unknown error")))
