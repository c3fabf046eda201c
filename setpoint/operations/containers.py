"""Acts and looks at one container, for the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from controllers.container.bundle import Ports
from controllers.container.declare import declare
from controllers.container.memory import Memory, Revision, remembered
from controllers.container.model import LIVE
from controllers.container.ports import ImageInfo, Instance
from controllers.container.status import exit_of
from controllers.container.view import RuntimeView
from controllers.engine.engine import Engine
from controllers.engine.instants import read
from controllers.engine.ports import Clock
from setpoint.api.operations import AttachRequest, ExecRequest, LogRequest, StreamSession
from setpoint.operations.planning import actions
from setpoint.sessions.opening import Sessions
from state.clock import rfc3339_micro
from state.errors import Conflict, NotFound
from state.objects import Key, Object
from state.store import Selection

EXIT_RECORDED_S, EXIT_POLL_S = 2.0, 0.02
"""How long an exit whose streams have ended may take to be on record, and how often it is looked for."""


@dataclass(frozen=True, slots=True)
class Running:
    """A container with a live task."""

    key: Key
    uid: str
    instance: Instance
    spec: Object
    revision: Revision


class ContainerActs:
    """Implements ``ContainerOperations``."""

    def __init__(self, ports: Ports, view: RuntimeView, engine: Engine, clock: Clock, sessions: Sessions) -> None:
        self._ports, self._view, self._engine, self._clock, self._sessions = ports, view, engine, clock, sessions

    async def kill(self, key: Key, signal: int) -> None:
        live = await self._require_live(key)
        await self._ports.runtime.signal(live.instance.id, signal)

    async def exec(self, key: Key, request: ExecRequest) -> StreamSession:
        live = await self._require_live(key)
        return await self._sessions.exec(live.instance.id, await self._image(live), request)

    async def exec_detached(self, key: Key, request: ExecRequest) -> int:
        live = await self._require_live(key)
        return await self._sessions.exec_detached(live.instance.id, await self._image(live), request)

    async def attach(self, key: Key, request: AttachRequest) -> StreamSession:
        if request.wait:
            return await self._join(key, request)
        live = await self._require_live(key)
        _check_stdin(key, request, live.spec)
        launch = self._memory(live.uid).launches
        return await self._sessions.attach(live.uid, live.instance.id, request, lambda: self._unknown(live.uid, launch))

    async def _join(self, key: Key, request: AttachRequest) -> StreamSession:
        """To the present run, or to the next one from its first byte."""
        stored = await self._ports.store.get(key)
        _check_stdin(key, request, stored.object["spec"])
        uid, before = stored.uid, len(self._memory(stored.uid).exits) and self._memory(stored.uid).exits[-1].launch

        async def find() -> str:
            live = (i.id for i in await self._view.settle(uid) if i.task in LIVE)
            return next(live, "")

        async def exit_code() -> int:
            return await self._next_exit(uid, before)

        return await self._sessions.join(uid, request, find, exit_code)

    async def _next_exit(self, uid: str, before: int) -> int:
        """The code of the first exit after launch ``before``, once it is on record; -1 when it is not known or all is gone."""
        for _ in range(int(EXIT_RECORDED_S / EXIT_POLL_S)):
            for record in self._memory(uid).exits:
                if record.launch > before:
                    return -1 if record.code is None else record.code
            await self._clock.sleep(EXIT_POLL_S)
        return -1

    async def logs(self, key: Key, request: LogRequest) -> AsyncIterator[bytes]:
        stored = await self._ports.store.get(key)
        async for chunk in self._sessions.logs(key, stored.uid, request, lambda: self._exists(key, stored.uid)):
            yield chunk

    async def why(self, key: Key) -> Object:
        """Declared, seen, waiting for what since when, who changed what, last exits, and what comes next."""
        stored = await self._ports.store.get(key)
        obj = stored.object
        now = self._clock.now()
        want = declare(obj, now)
        mem = self._memory(stored.uid)
        outlook = self._engine.outlook(key)
        steps, plan = actions(want, self._view.of(stored.uid), mem, read(self._clock), rfc3339_micro(now), self._view.fresh)
        status = obj.get("status") or {}
        return {
            "name": key.name,
            "namespace": key.namespace,
            "uid": stored.uid,
            "declared": {"runState": want.run_state, "image": want.image, "restartPolicy": want.restart.policy},
            "seen": [_seen(i) for i in self._view.of(stored.uid)],
            "status": status,
            "writers": [_writer(entry) for entry in obj["metadata"].get("managedFields") or ()],
            "exits": [exit_of(record) for record in reversed(mem.exits)],
            "next": steps,
            "rule": plan.rule,
            "loop": {
                "state": outlook.state,
                "nextLookInSeconds": None if outlook.next is None else outlook.next.total_seconds(),
                "failures": outlook.failures,
                "error": outlook.error,
            },
            "events": await self._events(key, stored.uid),
        }

    async def _image(self, live: Running) -> ImageInfo | None:
        """For the user look-up; an image that is gone from the node leaves numbers only."""
        repository = live.revision.image.partition("@")[0]
        with suppress(NotFound):
            return await self._ports.images.resolve(f"{repository}@{live.revision.digest}")
        return None

    def _unknown(self, uid: str, launch: int) -> bool:
        """Whether the end of that launch is on record as one that nobody saw."""
        return any(record.launch == launch and record.code is None for record in self._memory(uid).exits)

    async def _exists(self, key: Key, uid: str) -> bool:
        with suppress(NotFound):
            return (await self._ports.store.get(key)).uid == uid
        return False

    async def _events(self, key: Key, uid: str) -> list[Object]:
        listing = await self._ports.store.list(Selection("Event", key.namespace, fields=f"involvedObject.uid={uid}"))
        shown = ("reason", "message", "count", "firstTimestamp", "lastTimestamp", "type")
        return [{name: item.object.get(name) for name in shown} for item in listing.items]

    def _memory(self, uid: str) -> Memory:
        return remembered(self._ports.ledger, uid)

    async def _require_live(self, key: Key) -> Running:
        stored = await self._ports.store.get(key)
        mem = self._memory(stored.uid)
        for instance in await self._view.settle(stored.uid):
            if instance.task in LIVE and mem.current is not None:
                return Running(key, stored.uid, instance, stored.object["spec"], mem.current)
        phase = (stored.object.get("status") or {}).get("phase", "Pending")
        raise Conflict(f"container {key.name} does not run: it is {phase}", kind="Container", name=key.name)


def _check_stdin(key: Key, request: AttachRequest, spec: Object) -> None:
    if request.stdin and not spec.get("stdin"):
        raise Conflict(f"{key.name} was declared without stdin: set spec.stdin", kind="Container", name=key.name)


def _seen(instance: Instance) -> Object:
    return {"id": instance.id, "revision": instance.revision, "task": instance.task or "none", "pid": instance.pid}


def _writer(entry: Object) -> Object:
    return {name: entry.get(name, "") for name in ("manager", "operation", "subresource", "time")}
