"""Opens streams to one container: exec, attach and log. The API's doors to drivers, wired once by the assembly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from controllers.container.oci import exec_process
from controllers.container.ports import ImageInfo
from controllers.engine.ports import Clock
from setpoint.api.operations import AttachRequest, ExecRequest, LogRequest, StreamSession
from setpoint.drivers.containerd.execs import Execs as ExecDriver
from setpoint.drivers.containerd.runtime import Containerd
from setpoint.drivers.logs import read_log
from setpoint.drivers.pump import Pump
from setpoint.sessions.attaching import AttachSession
from setpoint.sessions.execs import Execs
from setpoint.sessions.joining import Find, JoiningSession
from setpoint.sessions.logs import in_pieces
from state.errors import NotFound, StateError
from state.objects import Key, Object

LOG_POLL_S = 0.2
"""How often a log that does not exist yet is looked for, while somebody follows it."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Every method is about one running instance; the caller has looked that it runs."""

    data_dir: Path
    runtime: Containerd
    driver: ExecDriver
    execs: Execs
    pump: Pump
    clock: Clock

    async def exec(self, id: str, image: ImageInfo | None, request: ExecRequest) -> StreamSession:
        """StartFailed goes through: the API tells its code as the process's, as a shell would."""
        process = await self._process(id, image, request)
        return await self.execs.start(id, process, stdin=request.stdin, tty=request.tty, size=request.size)

    async def exec_detached(self, id: str, image: ImageInfo | None, request: ExecRequest) -> int:
        return await self.execs.start_detached(id, await self._process(id, image, request))

    async def attach(self, uid: str, id: str, request: AttachRequest, unknown: Callable[[], bool]) -> StreamSession:
        """``unknown``: asked at the end, whether the code that containerd tells is one that it made up."""
        ended = asyncio.ensure_future(self.driver.wait(id))
        try:
            stream = await self.pump.attach(uid, stdin=request.stdin)
        except BaseException:
            ended.cancel()
            raise

        async def exit_code() -> int:
            try:
                code = await ended
            except StateError:
                return -1
            return -1 if unknown() else code

        return AttachSession(stream, _Main(self.driver, id), exit_code, leave=ended.cancel)

    async def join(
        self, uid: str, request: AttachRequest, find: Find, exit_code: Callable[[], Awaitable[int]]
    ) -> StreamSession:
        """Attaches to a container that may not run yet. ``find``: the id of its task, once there is one."""
        stream = await self.pump.join(uid, stdin=request.stdin)
        return JoiningSession(stream, self.driver, find, exit_code)

    async def logs(self, key: Key, uid: str, request: LogRequest, alive: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """The text of the log; with ``follow`` until the object is gone."""
        since = self._since(request)
        while True:
            lines = read_log(
                self.data_dir,
                key.namespace,
                key.name,
                uid,
                follow=request.follow,
                tail=request.tail_lines,
                since=since,
                previous=request.previous,
            )
            try:
                async for piece in in_pieces(lines, timestamps=request.timestamps):
                    yield piece
                return
            except NotFound:
                if not request.follow or not await alive():
                    return
                await self.clock.sleep(LOG_POLL_S)

    async def _process(self, id: str, image: ImageInfo | None, request: ExecRequest) -> Object:
        document = await self.runtime.document(id)
        env = dict(pair.partition("=")[::2] for pair in request.env)
        return exec_process(
            document,
            image or ImageInfo("", "", "", {}),
            command=request.command,
            tty=request.tty,
            user=request.user,
            cwd=request.working_dir,
            env=env,
        )

    def _since(self, request: LogRequest) -> datetime | None:
        if request.since_time:
            return datetime.fromisoformat(request.since_time.replace("Z", "+00:00"))
        if request.since_seconds is not None:
            return self.clock.now() - timedelta(seconds=request.since_seconds)
        return None


@dataclass(frozen=True, slots=True)
class _Main:
    """Terminal and stdin of the container's first process."""

    driver: ExecDriver
    id: str

    async def resize(self, width: int, height: int) -> None:
        await self.driver.resize(self.id, "", width, height)

    async def close_stdin(self) -> None:
        await self.driver.close_io(self.id)
