"""The node-wide view of containerd: every instance of ours, kept by events, listed again at resync and after any break.

Events only mark an id as dirty and wake its key; the pass that follows reads that one instance again. While the view is not
fresh nobody may conclude anything from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from controllers.container.model import LIVE, Signal
from controllers.container.ports import Exit, Instance, Runtime, RuntimeSource
from controllers.engine.ports import Clock, Log
from state.errors import InDoubt, StateError

RETRY_S = 0.5
"""Between two attempts to reach a containerd that is away."""

DOUBT_S = 120.0
"""How long a call whose answer nobody awaited may still come to be: longer than any call of the driver's is waited for."""

_OURS_ANYWAY = (
    "/tasks/create",
    "/tasks/start",
    "/tasks/delete",
    "/containers/create",
    "/containers/delete",
    "/tasks/paused",
    "/tasks/resumed",
)
"""Topics that our own call in flight causes; its answer is noted by the caller."""


class RuntimeView:
    """Owns nothing on the node. ``wake`` is told the uid (and namespace, name) of each instance that may have changed."""

    def __init__(
        self, source: RuntimeSource, runtime: Runtime, clock: Clock, log: Log, wake: Callable[[Instance], None]
    ) -> None:
        self._source, self._runtime, self._clock, self._log, self._wake = source, runtime, clock, log, wake
        self._by_uid: dict[str, dict[int, Instance]] = {}
        self._serial = 0
        self._dirty: dict[str, int] = {}
        """Id -> when it was marked: what was asked before that may not know of it."""
        self._acted: dict[str, int] = {}
        """Id -> when a call of ours on it last began or ended: an older answer about it is not believed."""
        self._exits: dict[str, Exit] = {}
        self._in_flight: set[str] = set()
        self._doubts: dict[str, float] = {}
        """Id -> until when a call of ours on it, ended without an answer, may still come to be."""
        self.signalled: dict[str, Signal] = {}
        """What this life of the agent last sent to a task, by id."""
        self.fresh = False
        self._standing = False
        """The subscription stands: events reach us."""

    # reading

    def of(self, uid: str) -> tuple[Instance, ...]:
        """The instances of a uid by revision, as last seen."""
        return tuple(sorted(self._by_uid.get(uid, {}).values(), key=lambda i: i.revision))

    def uids(self) -> tuple[str, ...]:
        return tuple(self._by_uid)

    def all(self) -> Iterator[Instance]:
        for revisions in self._by_uid.values():
            yield from revisions.values()

    async def settle(self, uid: str) -> tuple[Instance, ...]:
        """``of(uid)`` after every id of it that events marked has been read again."""
        prefix = uid.replace("-", "") + "-"
        for id in [d for d in self._dirty if d.startswith(prefix)]:
            await self._look(id)
        return self.of(uid)

    # what we did ourselves

    @contextmanager
    def acting(self, id: str) -> Iterator[None]:
        """Around a call of ours on ``id``. If it fails, the id is dirty: the next pass looks before it acts."""
        self._in_flight.add(id)
        try:
            yield
        except BaseException as error:
            self._mark(id)
            if not isinstance(error, StateError) or isinstance(error, InDoubt):
                self._doubts[id] = self._clock.monotonic() + DOUBT_S
            raise
        finally:
            self._in_flight.discard(id)
            self._acted[id] = self._tick()

    def in_doubt(self, uid: str) -> bool:
        """Whether something of the uid may still come to be, though nothing of it is there now."""
        now = self._clock.monotonic()
        self._doubts = {id: until for id, until in self._doubts.items() if until > now}
        return any(id.startswith(uid.replace("-", "") + "-") for id in self._doubts)

    def note(self, instance: Instance) -> None:
        """What a call of ours brought about."""
        if instance.task in LIVE:
            self._exits.pop(instance.id, None)
        self._by_uid.setdefault(instance.uid, {})[instance.revision] = instance

    def drop(self, instance: Instance) -> None:
        self._remove(instance.id)

    # following

    async def run(self) -> None:
        """For ever: subscribe, list, follow; after any break list again."""
        while True:
            try:
                await self._follow()
            except StateError as error:
                self._lost(error)
            await self._clock.sleep(RETRY_S)

    async def resync(self) -> None:
        """The list once more. A containerd that does not answer is one that cannot be seen, though its stream may stand (it is
        stopped, or hangs): nothing is concluded from then on until it answers. Raises what the source raises."""
        try:
            await self.relist()
        except StateError as error:
            self._lost(error)
            raise
        if self._standing and not self.fresh:
            self._found()

    async def relist(self) -> None:
        """The slow list that tells the truth, but for what we did while it was on its way. Wakes whoever changed; raises what
        the source raises."""
        asked = self._tick()
        listed = {i.id: i for i in await self._source.list()}
        before = {i.id: i for i in self.all()}
        self._by_uid = {}
        for id in sorted(before.keys() | listed.keys()):
            found = before.get(id) if self._acted_since(id, asked) else listed.get(id)
            if found is not None:
                self.note(self._with_exit(found))
        self._dirty = {id: at for id, at in self._dirty.items() if at > asked}
        self._acted = {id: at for id, at in self._acted.items() if at > asked or id in listed}
        now = {i.id: i for i in self.all()}
        for id in sorted(before.keys() | now.keys()):
            if before.get(id) != now.get(id) and (either := now.get(id) or before.get(id)):
                self._wake(either)

    async def _follow(self) -> None:
        events = self._source.events()
        try:
            async for event in events:
                if not event.id:
                    await self.relist()
                    self._standing = True
                    self._found()
                else:
                    self._heard(event.id, event.topic, event.exit)
        finally:
            self._standing = False
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()

    def _heard(self, id: str, topic: str, exit: Exit | None) -> None:
        if exit is not None:
            self._exits[id] = exit
        elif id in self._in_flight and topic in _OURS_ANYWAY:
            return
        known = self._known(id)
        self._mark(id)
        if known is not None:
            self._wake(known)
        elif "-" in id:
            hexes, _, revision = id.rpartition("-")
            if len(hexes) == 32 and revision.isdigit():
                self._wake(Instance(id, _uid(hexes), int(revision), "", ""))

    def _found(self) -> None:
        self.fresh = True
        for instance in list(self.all()):
            self._wake(instance)

    def _lost(self, error: StateError) -> None:
        if not self.fresh:
            return
        self._log.warning("containerd is away", error=error.message)
        self.fresh = False
        for instance in list(self.all()):
            self._wake(instance)

    async def _look(self, id: str) -> None:
        asked = self._tick()
        instance = await self._runtime.look(id)
        if self._acted_since(id, asked):
            return  # it stays marked: whoever acted meanwhile knows better than this answer
        if self._dirty.get(id, 0) <= asked:
            self._dirty.pop(id, None)
        if instance is None:
            self._remove(id)
        else:
            self.note(self._with_exit(instance))

    def _mark(self, id: str) -> None:
        self._dirty[id] = self._tick()

    def _tick(self) -> int:
        self._serial += 1
        return self._serial

    def _acted_since(self, id: str, asked: int) -> bool:
        return id in self._in_flight or self._acted.get(id, 0) > asked

    def _with_exit(self, instance: Instance) -> Instance:
        """An exit that an event told stays with an instance whose task is gone: it is all that is known of the end."""
        told = self._exits.get(instance.id)
        if told is None or instance.task in LIVE:
            return instance
        if instance.exit is None:
            return replace(instance, exit=replace(told, true=False))
        return replace(instance, exit=replace(instance.exit, oom=instance.exit.oom or told.oom))

    def _known(self, id: str) -> Instance | None:
        hexes, _, revision = id.rpartition("-")
        if len(hexes) != 32 or not revision.isdigit():
            return None
        return self._by_uid.get(_uid(hexes), {}).get(int(revision))

    def _remove(self, id: str) -> None:
        known = self._known(id)
        if known is None:
            return
        revisions = self._by_uid.get(known.uid, {})
        revisions.pop(known.revision, None)
        if not revisions:
            self._by_uid.pop(known.uid, None)
        self._exits.pop(id, None)
        self.signalled.pop(id, None)


def _uid(hexes: str) -> str:
    """32 hexadecimal digits as a UUID with dashes."""
    return "-".join((hexes[:8], hexes[8:12], hexes[12:16], hexes[16:20], hexes[20:]))
