"""Further processes in a running task, and the terminal and stdin of any of its processes."""

from __future__ import annotations

import contextlib

from controllers.container.ports import Stdio
from setpoint._pb import tasks_pb2
from setpoint.drivers.containerd import rpc
from setpoint.drivers.containerd.channel import Channel
from setpoint.drivers.containerd.failures import start_failed
from setpoint.drivers.containerd.records import PROCESS_TYPE, packed
from state.errors import InDoubt, NotFound, StateError
from state.objects import Object

EXEC_PATIENCE_S = 30.0


class Execs:
    """Every ``exec_id`` may be empty where that makes sense: it then means the task's own process.

    Raises (every method): NotFound when there is no such process or it has ended; Unavailable, InDoubt as everywhere.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def start(self, id: str, exec_id: str, process: Object, stdio: Stdio) -> int:
        """A process (``process`` of the OCI runtime spec) runs in the task; returns its pid.

        The FIFOs' other ends must be open. Raises StartFailed (126, 127, 128), AlreadyExists; after a failure nothing of the
        exec is left. Whoever starts one waits for it and deletes it.
        """
        request = tasks_pb2.ExecProcessRequest(
            container_id=id,
            exec_id=exec_id,
            stdin=stdio.stdin,
            stdout=stdio.stdout,
            stderr=stdio.stderr,
            terminal=stdio.terminal,
            spec=packed(PROCESS_TYPE, process),
        )
        await self._channel.call(rpc.EXEC_CREATE, request)
        start = tasks_pb2.StartRequest(container_id=id, exec_id=exec_id)
        try:
            return (await self._channel.patient(rpc.TASK_START, start, wait_s=EXEC_PATIENCE_S)).pid
        except InDoubt:
            raise
        except StateError as error:
            await self.delete(id, exec_id)
            raise start_failed(error) from error

    async def wait(self, id: str, exec_id: str = "") -> int:
        """Its exit code, once it has ended; waits as long as that takes."""
        request = tasks_pb2.WaitRequest(container_id=id, exec_id=exec_id)
        return (await self._channel.call(rpc.TASK_WAIT, request, timeout_s=None)).exit_status

    async def kill(self, id: str, exec_id: str, signal: int) -> None:
        """The signal is delivered to that process alone."""
        request = tasks_pb2.KillRequest(container_id=id, exec_id=exec_id, signal=signal)
        await self._channel.call(rpc.TASK_KILL, request)

    async def resize(self, id: str, exec_id: str, width: int, height: int) -> None:
        """The terminal has that many columns and rows."""
        request = tasks_pb2.ResizePtyRequest(container_id=id, exec_id=exec_id, width=width, height=height)
        await self._channel.call(rpc.TASK_RESIZE, request)

    async def close_io(self, id: str, exec_id: str = "") -> None:
        """The process reads end of file once it has read what was written to its stdin."""
        request = tasks_pb2.CloseIORequest(container_id=id, exec_id=exec_id, stdin=True)
        await self._channel.call(rpc.TASK_CLOSE_IO, request)

    async def delete(self, id: str, exec_id: str) -> int:
        """The ended process is forgotten; returns its exit code, 0 when there was none any more."""
        with contextlib.suppress(NotFound):
            request = tasks_pb2.DeleteProcessRequest(container_id=id, exec_id=exec_id)
            return (await self._channel.patient(rpc.EXEC_DELETE, request, wait_s=EXEC_PATIENCE_S)).exit_status
        return 0
