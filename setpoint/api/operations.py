"""What the API asks of the agent beyond the store: things that are done or looked at, not declared.

The agent implements these; tests use ``setpoint.testing.fake_operations``. Every method raises the errors of
:mod:`state.errors` (NotFound: no such object or nothing running; Conflict: the wrong moment, and why).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from state.objects import Key, Object

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """One process beside the container's own. Empty ``user`` and ``working_dir`` mean the container's; ``env`` holds
    ``K=V`` to add. With ``tty`` stderr is merged into stdout by the terminal. ``size``: (columns, rows), 0 = not told."""

    command: tuple[str, ...]
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False
    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """Which of the container's streams to join. What was printed before is in the log, not here. ``wait``: if it does not run,
    its next start is waited for, and nothing that it then prints is missed."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False
    wait: bool = False


@dataclass(frozen=True, slots=True)
class LogRequest:
    """``tail_lines`` None = all; ``since_time`` is RFC 3339; ``previous``: the run before the present one."""

    follow: bool = False
    tail_lines: int | None = None
    timestamps: bool = False
    since_seconds: float | None = None
    since_time: str = ""
    previous: bool = False


class StreamSession(Protocol):
    """A running exec or attach. One reader and one writer; every method may be cancelled."""

    async def read(self) -> tuple[Stream, bytes] | None:
        """The next chunk of output; None when all streams have ended. Not calling it holds the process back."""

    async def write(self, data: bytes) -> None:
        """Returns when the process's stdin took all of it (or is closed: then the bytes are dropped)."""

    async def close_stdin(self) -> None:
        """End of file on stdin. Idempotent."""

    async def resize(self, width: int, height: int) -> None:
        """Columns and rows of the terminal; without one, nothing happens."""

    async def wait(self) -> int:
        """The process's exit code. For attach: the container's; -1 when it is not known."""

    async def close(self) -> None:
        """Ends the session and frees all it holds. A process of exec that still runs is killed, a container attached to is
        left alone. Idempotent; must be called."""


class ContainerOperations(Protocol):
    """Acts and looks at one running container."""

    async def kill(self, key: Key, signal: int) -> None:
        """Sends the signal to the container's first process. Conflict when it does not run."""

    async def why(self, key: Key) -> Object:
        """Declared and seen, waits, exits and repairs, the next action and its time: one JSON document."""

    async def exec(self, key: Key, request: ExecRequest) -> StreamSession:
        """Raises ``StartFailed`` (126, 127, 128) when the command cannot be executed."""

    async def exec_detached(self, key: Key, request: ExecRequest) -> int:
        """Starts it without streams; the pid on the host. Raises as :meth:`exec`."""

    async def attach(self, key: Key, request: AttachRequest) -> StreamSession:
        """Conflict when it does not run, or when stdin is asked for and the container has none."""

    def logs(self, key: Key, request: LogRequest) -> AsyncIterator[bytes]:
        """The text, whole lines per chunk. With ``follow`` ends when the object is gone. Closing frees at once."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One reference that the node holds. ``created_at`` is RFC 3339; ``used_by`` are ``namespace/name`` of Containers."""

    reference: str
    digest: str
    size_bytes: int
    created_at: str
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is: ``done`` of ``total`` bytes (total 0 = not known yet). The last one carries ``digest``."""

    status: str
    done: int = 0
    total: int = 0
    reference: str = ""
    digest: str = ""


class ImageOperations(Protocol):
    """The node's images."""

    async def list(self) -> Sequence[ImageRow]: ...

    async def load(self, archive: AsyncIterator[bytes]) -> Sequence[str]:
        """A docker-archive or OCI layout tar, plain or gzip; the references that it named. Invalid: not such a tar."""

    async def remove(self, reference: str) -> None:
        """Conflict names the Containers that use it."""

    def pull(self, reference: str, credentials: Object | None) -> AsyncIterator[PullProgress]:
        """``credentials``: ``{"username", "password"}``. Ends with one that has a digest, or raises."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something in containerd that carries our engine id and belongs to no object."""

    id: str
    uid: str
    namespace: str
    name: str
    state: str
    pid: int = 0
    image: str = ""
    adoptable: bool = True
    reason: str = ""


class OrphanOperations(Protocol):
    """Things of ours without an object: nothing touches them but these."""

    async def list(self) -> Sequence[Orphan]: ...

    async def adopt(self, id: str) -> Key:
        """Makes the object again from the declaration kept with the record; the running task is kept. Conflict: name taken."""

    async def remove(self, id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """What the node would do about one object. ``actions``: each ``{"do", "text", …}``; ``waits``: what it waits for."""

    kind: str
    namespace: str
    name: str
    actions: tuple[Object, ...] = ()
    replaces: bool = False
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement on the host: what was found and what is needed."""

    name: str
    ok: bool
    found: str = ""
    need: str = ""
    severity: Literal["error", "warning", "info"] = "error"


class NodeOperations(Protocol):
    """The agent as a whole."""

    async def plan(self, objects: Sequence[Object]) -> Sequence[ObjectPlan]:
        """For complete, admitted objects (as a dry-run apply returned them). Changes nothing."""

    async def info(self) -> Object: ...

    async def doctor(self) -> Sequence[Check]: ...

    async def halt(self) -> int:
        """Before the host goes down: stops what runs, within each one's grace period, and lets nothing start until the agent
        is started again. The declarations stay. Returns how many were stopped."""

    async def ready(self) -> Sequence[Check]:
        """Ready when all are ok. Must answer at once and from memory."""


@dataclass(frozen=True, slots=True)
class Operations:
    """All of them, as the API server gets them from the agent."""

    containers: ContainerOperations
    images: ImageOperations
    orphans: OrphanOperations
    node: NodeOperations
