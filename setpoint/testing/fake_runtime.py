"""containerd in memory: records, snapshots, tasks and an event stream, with virtual processes.

What it gets wrong: processes do only what :mod:`setpoint.testing.fake_programs` reads out of their command line, write nothing
and use nothing, so limits, mounts and users have no effect; every call is whole and immediate (wrap it in ``crashing.World``
for anything else); a paused process that is killed dies at once, as on cgroup v2 (v1 waits for the thaw); garbage collection
never runs; events arrive in order and at once; what the event stream told is remembered here, outside of the agent, so a test
that kills the agent calls ``agent_died``. Everything else is held to the real one by ``runtime_contract``.

Works under ``SimLoop`` and with ``ManualClock``: it sleeps on the clock it was given and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from controllers.container.ports import Exit, Instance, NewInstance, RuntimeEvent, StartFailed, Stdio, TaskState
from controllers.engine.ports import Clock
from setpoint.testing.fake_programs import FOREVER, IGNORE, Program, program
from state.errors import AlreadyExists, Conflict, Denied, InDoubt, NotFound, Unavailable
from state.objects import Object

SIGKILL = 9
BUSYBOX = ("docker.io/library/busybox:test", "sha256:" + "b" * 64)
_HARMLESS = frozenset({17, 18, 23, 28})  # SIGCHLD, SIGCONT, SIGURG, SIGWINCH: ignored by default


@dataclass(slots=True)
class Record:
    """A container record. ``engine`` empty: not ours."""

    new: NewInstance
    engine: str


@dataclass(slots=True, eq=False)
class Task:
    """A task and its process. ``hung``: its shim does not answer."""

    pid: int
    program: Program
    namespaced: bool
    state: TaskState = "RUNNING"
    exit: Exit | None = None
    hung: bool = False
    ends_at: float = FOREVER
    left_s: float = FOREVER
    resources: Object = field(default_factory=dict)


@dataclass(slots=True)
class _Server:
    away: bool = False
    last_pid: int = 1000

    def fork(self) -> int:
        self.last_pid += 1
        return self.last_pid


@dataclass(frozen=True, slots=True)
class Census:
    """What there is: ids, sorted."""

    records: tuple[str, ...]
    snapshots: tuple[str, ...]
    tasks: tuple[str, ...]
    processes: tuple[str, ...]


class FakeRuntime:
    """The ``Runtime`` and ``RuntimeSource`` of one engine, and hands that reach in from outside.

    To be set by tests, at any time: ``images`` (chain id -> reference), ``programs`` (first word of a command line -> Program),
    ``absent`` (paths of the host that do not exist: a bind mount from there does not start).
    """

    def __init__(self, clock: Clock, *, engine: str = "engine-1", forgets_on_restart: bool = False) -> None:
        """``forgets_on_restart``: as containerd 2.x, drop ended tasks that were not reaped when containerd comes back."""
        self.images: dict[str, str] = {BUSYBOX[1]: BUSYBOX[0]}
        self.programs: dict[str, Program] = {}
        self.absent: set[str] = set()
        self.records: dict[str, Record] = {}
        self.snapshots: dict[str, str] = {}
        self.tasks: dict[str, Task] = {}
        self.orphans: dict[str, int] = {}
        """Processes that live on without a shim: id -> pid."""
        self._clock, self._engine, self._forgets = clock, engine, forgets_on_restart
        self._server = _Server()
        self._heard: dict[str, Exit] = {}
        self._oom: set[str] = set()
        self._subscribers: dict[asyncio.Queue[RuntimeEvent | None], None] = {}
        self._timers: dict[asyncio.Task[None], None] = {}

    def sharing(self, engine: str) -> FakeRuntime:
        """Another engine's view of the same containerd."""
        other = FakeRuntime.__new__(FakeRuntime)
        other.__dict__.update(self.__dict__)
        other._engine = engine
        return other

    # -- Runtime ---------------------------------------------------------------------------------------------------

    async def create(self, new: NewInstance) -> None:
        await self._turn()
        there = self.records.get(new.id)
        if there is not None and (there.engine != self._engine or _identity(there.new) != _identity(new)):
            raise AlreadyExists(f"container {new.id} is there, and is not this one", kind="Container", name=new.id)
        if new.chain_id not in self.images:
            if there is not None and new.id not in self.snapshots:
                del self.records[new.id]
            raise _no_image(new.image)
        if there is None:
            self.records[new.id] = Record(new, self._engine)
            self._tell(new.id, "/containers/create")
        else:
            there.new = new
        self.snapshots.setdefault(new.id, new.chain_id)

    async def launch(self, id: str, stdio: Stdio) -> int:
        await self._turn()
        new = self._own(id).new
        if id in self.tasks:
            raise AlreadyExists(f"task {id}: already exists", kind="Container", name=id)
        if id not in self.snapshots:
            if new.chain_id not in self.images:
                raise _no_image(new.image)
            self.snapshots[id] = new.chain_id
        self.orphans.pop(id, None)
        self._require_sources(new)
        found = program((new.spec.get("process") or {}).get("args") or (), self.programs)
        self._heard.pop(id, None)
        self._oom.discard(id)
        kinds = {entry.get("type") for entry in (new.spec.get("linux") or {}).get("namespaces") or ()}
        task = self.tasks[id] = Task(self._server.fork(), found, "pid" in kinds)
        self._tell(id, "/tasks/create")
        self._tell(id, "/tasks/start")
        self._run_for(id, task, found.runs_s)
        return task.pid

    async def signal(self, id: str, signal: int, *, everyone: bool = False) -> None:
        await self._turn()
        task = self._require_task(id)
        if task.state == "STOPPED":
            raise NotFound("process already finished: not found", kind="Container", name=id)
        self._deliver(id, task, signal)

    async def pause(self, id: str) -> None:
        await self._turn()
        task = self._require_task(id)
        if task.state == "STOPPED":
            raise Conflict(f"container {id} is STOPPED", kind="Container", name=id)
        if task.state == "RUNNING":
            task.state = "PAUSED"
            task.left_s = max(0.0, task.ends_at - self._clock.monotonic())
            self._tell(id, "/tasks/paused")

    async def resume(self, id: str) -> None:
        await self._turn()
        task = self._require_task(id)
        if task.state == "STOPPED":
            raise Conflict(f"container {id} is STOPPED", kind="Container", name=id)
        if task.state == "PAUSED":
            task.state = "RUNNING"
            self._tell(id, "/tasks/resumed")
            self._run_for(id, task, task.left_s)

    async def update(self, id: str, resources: Object) -> None:
        await self._turn()
        task = self._require_task(id)
        if task.state == "STOPPED":
            raise Conflict(f"container {id} is STOPPED", kind="Container", name=id)
        task.resources = {**task.resources, **resources}

    async def reap(self, id: str, *, force: bool = False) -> Exit | None:
        await self._turn()
        task = self.tasks.get(id)
        if task is not None and task.hung and force:
            self.kill_shim(id)
            task = None
        if task is not None and task.state != "STOPPED":
            if not force:
                raise Conflict(f"container {id} is {'UNKNOWN' if task.hung else task.state}", kind="Container", name=id)
            self._end(id, task, 128 + SIGKILL)
        if task is None:
            if force:
                self.orphans.pop(id, None)
            return self._heard.get(id)
        del self.tasks[id]
        self._heard.pop(id, None)
        self._tell(id, "/tasks/delete")
        return task.exit

    async def remove(self, id: str) -> None:
        await self._turn()
        if id in self.tasks:
            raise Conflict(f"container {id} still has a task", kind="Container", name=id)
        if id in self.records:
            self._own(id)
        self.snapshots.pop(id, None)
        self.orphans.pop(id, None)
        self._heard.pop(id, None)
        if self.records.pop(id, None) is not None:
            self._tell(id, "/containers/delete")

    async def look(self, id: str) -> Instance | None:
        await self._turn()
        record = self.records.get(id)
        if record is None or record.engine != self._engine:
            return None
        return replace(self._instance(id, record), declaration=record.new.declaration)

    # -- RuntimeSource ---------------------------------------------------------------------------------------------

    async def list(self) -> Sequence[Instance]:
        await self._turn()
        return [self._instance(id, each) for id, each in sorted(self.records.items()) if each.engine == self._engine]

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        await self._turn()
        queue: asyncio.Queue[RuntimeEvent | None] = asyncio.Queue()
        self._subscribers[queue] = None
        try:
            yield RuntimeEvent("", "subscribed")
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._subscribers.pop(queue, None)
        raise Unavailable("the event stream broke")

    # -- hands from outside ----------------------------------------------------------------------------------------

    def kill_process(self, id: str, signal: int = SIGKILL) -> None:
        """Somebody on the host sends a signal to the container's first process."""
        self._deliver(id, self.tasks[id], signal)

    def kill_for_memory(self, id: str) -> None:
        """The kernel kills it for want of memory."""
        self._oom.add(id)
        self._tell(id, "/tasks/oom")
        self._end(id, self.tasks[id], 128 + SIGKILL)

    def kill_shim(self, id: str, *, orphan: bool = False) -> None:
        """The task vanishes, and containerd makes up a number. ``orphan``: it could not end the process, which lives on."""
        task = self.tasks.pop(id)
        if task.exit is None:
            if orphan:
                self.orphans[id] = task.pid
            self._hear(id, Exit(128 + SIGKILL, self._now(), true=False))
        else:
            self._hear(id, task.exit)
        self._tell(id, "/tasks/delete")

    def hang_shim(self, id: str, *, hung: bool = True) -> None:
        """Its shim stops answering (or answers again); the process goes on."""
        self.tasks[id].hung = hung

    def delete_task(self, id: str) -> None:
        """Somebody else kills and deletes the task."""
        task = self.tasks[id]
        if task.state != "STOPPED":
            self._end(id, task, 128 + SIGKILL)
        del self.tasks[id]
        self._tell(id, "/tasks/delete")

    def delete_record(self, id: str) -> None:
        """Somebody else deletes the record; a task goes on without it."""
        del self.records[id]
        self._tell(id, "/containers/delete")

    def drop_snapshot(self, id: str) -> None:
        """Somebody else deletes the snapshot."""
        self.snapshots.pop(id, None)

    def add_foreign(self, id: str, engine: str = "") -> None:
        """A running container that is not ours."""
        self.records[id] = Record(NewInstance(id, "", 0, "", "", BUSYBOX[0], BUSYBOX[1], {}), engine)
        self.snapshots[id] = BUSYBOX[1]
        self.tasks[id] = Task(self._server.fork(), Program(FOREVER), True)

    def freeze(self) -> None:
        """containerd is stopped: no call is answered in time, though its streams stand; processes go on."""
        self._server.away = True

    def leave(self) -> None:
        """containerd is gone: every call is refused, every stream breaks, processes go on."""
        self._server.away = True
        for queue in self._subscribers:
            queue.put_nowait(None)
        self._subscribers.clear()

    def come_back(self) -> None:
        """containerd is there again, and remembers what it does remember."""
        self._server.away = False
        for id in [id for id, task in self.tasks.items() if self._forgets and task.state == "STOPPED"]:
            del self.tasks[id]

    def restart_containerd(self) -> None:
        """Away and back within an instant."""
        self.leave()
        self.come_back()

    def agent_died(self) -> None:
        """What the agent kept in memory of events is lost."""
        self._heard.clear()

    def reboot(self) -> None:
        """The host came up again: no process, no task; records and snapshots are as they were."""
        self.leave()
        self.tasks.clear()
        self.orphans.clear()
        self.come_back()

    def census(self) -> Census:
        """Everything there is, whoever owns it."""
        live = {id for id, task in self.tasks.items() if task.exit is None} | set(self.orphans)
        return Census(*(tuple(sorted(ids)) for ids in (self.records, self.snapshots, self.tasks, live)))

    # -- parts -----------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        await self._clock.sleep(0)
        if self._server.away:
            raise Unavailable("failed to connect to containerd")

    def _own(self, id: str) -> Record:
        record = self.records.get(id)
        if record is None:
            raise NotFound(f"container {id} has no record", kind="Container", name=id)
        if record.engine != self._engine:
            raise Denied(f"container {id} is not ours (engine {record.engine or 'none'})", kind="Container", name=id)
        return record

    def _require_sources(self, new: NewInstance) -> None:
        for mount in new.spec.get("mounts", ()):
            source = mount.get("source", "")
            if mount.get("type") == "bind" and source in self.absent:
                text = f'error mounting "{source}" to rootfs at "{mount["destination"]}": stat {source}: no such file'
                raise StartFailed(f"{text} or directory", 128, missing=source)

    def _require_task(self, id: str) -> Task:
        if id not in self.tasks:
            raise NotFound(f"task {id} not found: not found", kind="Container", name=id)
        if self.tasks[id].hung:
            raise InDoubt(f"the shim of {id} does not answer")
        return self.tasks[id]

    def _instance(self, id: str, record: Record) -> Instance:
        task, new = self.tasks.get(id), record.new
        row = Instance(id, new.uid, new.revision, new.namespace, new.name)
        if task is None:
            return replace(row, exit=self._heard.get(id))
        if task.hung:
            return replace(row, task="UNKNOWN")
        return replace(row, task=task.state, pid=0 if task.state == "STOPPED" else task.pid, exit=task.exit)

    def _now(self) -> str:
        return f"{self._clock.now():%Y-%m-%dT%H:%M:%S.%f}000Z"

    def _tell(self, id: str, topic: str, exit: Exit | None = None) -> None:
        for queue in self._subscribers:
            queue.put_nowait(RuntimeEvent(id, topic, exit))

    def _hear(self, id: str, exit: Exit) -> None:
        if self._subscribers:  # what nobody heard nobody knows
            self._heard[id] = exit
        self._tell(id, "/tasks/exit", exit)

    def _deliver(self, id: str, task: Task, signal: int) -> None:
        """As the kernel does: the first process of a pid namespace is not touched by signals that it has no handler for."""
        handler = task.program.handlers.get(signal)
        if signal != SIGKILL:
            if handler == IGNORE or (handler is None and (task.namespaced or signal in _HARMLESS)):
                return
            if task.state == "PAUSED":
                task.left_s, task.program = 0.0, Program(code=128 + signal if handler is None else handler)
                return
        code = 128 + signal if handler is None else handler
        if signal != SIGKILL and task.program.dies_s:
            task.program = replace(task.program, code=code)
            self._run_for(id, task, task.program.dies_s)
        else:
            self._end(id, task, code)

    def _end(self, id: str, task: Task, code: int) -> None:
        if task.exit is None:
            task.state, task.exit = "STOPPED", Exit(code, self._now(), oom=id in self._oom)
            self._tell(id, "/tasks/exit", replace(task.exit, true=False))
            if self._subscribers:
                self._heard[id] = replace(task.exit, true=False)

    def _run_for(self, id: str, task: Task, seconds: float) -> None:
        task.ends_at = self._clock.monotonic() + seconds
        if seconds != FOREVER:
            timer = asyncio.get_running_loop().create_task(self._end_at(id, task, task.ends_at), name=f"process {id}")
            self._timers[timer] = None
            timer.add_done_callback(self._forget_timer)

    def _forget_timer(self, timer: asyncio.Task[None]) -> None:
        self._timers.pop(timer, None)

    async def _end_at(self, id: str, task: Task, instant: float) -> None:
        await self._clock.sleep(instant - self._clock.monotonic())
        if task.state == "RUNNING" and task.ends_at == instant:
            self._end(id, task, task.program.code)


def _identity(new: NewInstance) -> tuple[str, int, str, str, str]:
    return new.uid, new.revision, new.namespace, new.name, new.chain_id


def _no_image(image: str) -> NotFound:
    return NotFound(f"image {image} is not unpacked on this node", kind="Image", name=image)
