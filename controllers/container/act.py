"""Carries out steps, in order, through ports. The first failure ends the pass.

A call whose outcome is unknown leaves its id marked in the view: the next pass looks before it acts.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from controllers.container import preparing
from controllers.container.bundle import Ports
from controllers.container.memory import ExitRecord, Launched, Memory, Revision, dump
from controllers.container.model import (
    Admit,
    Create,
    Delete,
    Desired,
    Finish,
    Launch,
    Pause,
    Reap,
    Recall,
    Refresh,
    Release,
    Remember,
    Remove,
    Resolve,
    Resume,
    Seen,
    Signal,
    Step,
    Update,
)
from controllers.container.observe import Written
from controllers.container.oci import build, live_resources
from controllers.container.ports import ImageInfo, Instance, LogWish, NewInstance
from controllers.container.restarting import LAST_SIGNAL, seconds_between
from controllers.container.view import RuntimeView
from controllers.engine.budget import Budget
from state.errors import AlreadyExists, NotFound
from state.ledger import CONTAINERS, TOMBSTONES
from state.objects import FINALIZER, Object
from state.store import DeleteOptions, Preconditions

_SIGNAL = re.compile(r"(?:SIG)?([A-Z]+2?|[0-9]{1,3})([+-][0-9]{1,2})?")


@dataclass(slots=True)
class Pass:
    """What one pass over one Container has learned so far."""

    want: Desired
    mem: Memory
    seen: Seen = field(default_factory=Seen)
    prepared: bool = False
    """Sandbox and files were made ready for the launch that follows."""
    image: ImageInfo | None = None
    """As this pass resolved it."""
    over: bool = False
    """The object is gone or being deleted by us: nothing is left to report."""


class Throttled(Exception):
    """The node's start budget is used up for now."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"start budget: {wait_s:.2f} s")
        self.wait_s = wait_s


class Actor:
    """Turns steps into calls. Knows how, never whether."""

    def __init__(self, ports: Ports, view: RuntimeView, budget: Budget, written: Written) -> None:
        self._ports, self._view, self._budget, self._written = ports, view, budget, written
        self._does: dict[type, Callable[[Pass, Any], Awaitable[None]]] = {
            Remember: self._remember,
            Recall: self._recall,
            Resolve: self._resolve,
            Admit: self._admit,
            Create: self._create,
            Launch: self._launch,
            Signal: self._signal,
            Reap: self._reap,
            Remove: self._remove,
            Pause: self._pause,
            Resume: self._resume,
            Update: self._update,
            Refresh: self._refresh,
            Delete: self._delete,
            Release: self._release,
            Finish: self._finish,
        }

    async def act(self, work: Pass, step: Step) -> None:
        """Raises what the port raised, :class:`preparing.Missing`, :class:`Throttled` or ``StartFailed``."""
        await self._does[type(step)](work, step)

    # memory

    async def _remember(self, work: Pass, step: Remember) -> None:
        changes: dict[tuple[str, str], Object | None] = {(CONTAINERS, work.want.uid): dump(step.memory)}
        if step.bury:
            changes[TOMBSTONES, work.want.uid] = {"namespace": work.want.key.namespace, "name": work.want.key.name}
        await self._ports.ledger.put_all(changes)
        ended = step.memory.last_exit
        if ended is not None and ended != work.mem.last_exit and ended.reason != "StartError":
            self._tell_exit(work.want, ended)
        work.mem = step.memory

    def _tell_exit(self, want: Desired, ended: ExitRecord) -> None:
        """One event per kind of end; the same one again only counts."""
        how = f"exit code {ended.code}" if ended.code is not None else ended.message
        signal = f" (signal {ended.signal})" if ended.signal else ""
        reason = "Stopped" if ended.requested else ended.reason if ended.reason == "OOMKilled" else "Exited"
        self._ports.recorder.record(
            want.key, want.uid, reason, f"{how}{signal}", warning=not ended.requested and ended.code != 0
        )

    async def _recall(self, work: Pass, step: Recall) -> None:
        """The ledger was lost: the newest record that carries this uid is taken for the current revision."""
        newest = work.seen.instances[-1]
        told = await self._ports.runtime.look(newest.id)
        said = (told.declaration if told else None) or {}
        revision = Revision(
            newest.revision,
            said.get("hash", work.want.hash),
            said.get("generation", work.want.generation),
            said.get("image", work.want.image),
            said.get("digest", ""),
            said.get("live", work.want.live),
            said.get("stopSignal", ""),
            ready=True,
        )
        memory = replace(
            work.mem,
            namespace=work.want.key.namespace,
            name=work.want.key.name,
            next_revision=newest.revision + 1,
            current=revision,
            launches=1,
            launched=_recalled(work, newest, revision, step) if newest.task is not None else None,
            restarted_at=work.want.restarted_at,
            retried_at=work.want.retried_at,
        )
        await self._remember(work, Remember(memory))

    # start

    async def _resolve(self, work: Pass, step: Resolve) -> None:
        found = await preparing.check(self._ports, work.want, image=step.image)
        if found is not None:
            resolution, work.image = found
            work.seen = replace(work.seen, resolution=resolution)
        work.seen = replace(work.seen, ready=True)

    async def _admit(self, work: Pass, step: Admit) -> None:
        wait = self._budget.take(work.want.uid)
        if wait:
            raise Throttled(wait.total_seconds())

    async def _create(self, work: Pass, step: Create) -> None:
        want, revision = work.want, _revision(work.mem, step.revision)
        info = work.image
        if info is None or info.digest != revision.digest:
            info = await preparing.find_image(self._ports, want, revision.digest)
        prepared = await preparing.prepare(self._ports, want, info)
        self._written[want.uid], work.prepared = prepared.gathered.files, True
        facts = self._ports.host.facts()
        instance = Instance(want.id(step.revision), want.uid, step.revision, want.key.namespace, want.key.name)
        new = NewInstance(
            id=instance.id,
            uid=want.uid,
            revision=step.revision,
            namespace=want.key.namespace,
            name=want.key.name,
            image=revision.image,
            chain_id=info.chain_id,
            spec=build(preparing.spec_inputs(self._ports, want, step.revision, info, prepared)),
            runtime=want.spec.get("runtime", "runc"),
            systemd_cgroup=facts.systemd_cgroup,
            declaration=_declaration(want, revision),
        )
        with self._view.acting(instance.id):
            await self._ports.runtime.create(new)
        self._saw(work, instance)

    async def _launch(self, work: Pass, step: Launch) -> None:
        want, ports = work.want, self._ports
        if not work.prepared:
            self._written[want.uid] = (await preparing.prepare(ports, want, None)).gathered.files
        work.prepared = False
        stdio = await ports.logs.open(log_wish(want, step.revision))
        id = want.id(step.revision)
        self._view.signalled.pop(id, None)
        with self._view.acting(id):
            pid = await ports.runtime.launch(id, stdio)
        self._saw(work, Instance(id, want.uid, step.revision, want.key.namespace, want.key.name, task="RUNNING", pid=pid))
        ports.recorder.record(
            want.key, want.uid, "Restarted" if step.restart else "Started", f"started revision {step.revision}"
        )

    # stop

    async def _signal(self, work: Pass, step: Signal) -> None:
        """What ended by itself in between is no error: its id is marked, and looked at next."""
        with suppress(NotFound), self._view.acting(step.id):
            await self._ports.runtime.signal(step.id, _number(step.signal), everyone=step.everyone)
            if step.resume:
                await self._ports.runtime.resume(step.id)
            self._view.signalled[step.id] = step

    async def _reap(self, work: Pass, step: Reap) -> None:
        with self._view.acting(step.id):
            await self._ports.runtime.reap(step.id, force=step.force)
        self._task(work, step.id, None)

    async def _remove(self, work: Pass, step: Remove) -> None:
        """Destructive: its one target is read again first."""
        with self._view.acting(step.id):
            target = await self._ports.runtime.look(step.id)
            if target is not None and target.uid == work.want.uid and target.task is None:
                await self._ports.runtime.remove(step.id)
            elif target is not None:
                self._saw(work, target)
                return
        kept = tuple(i for i in work.seen.instances if i.id != step.id)
        for gone in work.seen.instances:
            if gone.id == step.id:
                self._view.drop(gone)
        work.seen = replace(work.seen, instances=kept)

    # while it runs

    async def _pause(self, work: Pass, step: Pause) -> None:
        with self._view.acting(step.id):
            await self._ports.runtime.pause(step.id)
        self._task(work, step.id, "PAUSED")

    async def _resume(self, work: Pass, step: Resume) -> None:
        with self._view.acting(step.id):
            await self._ports.runtime.resume(step.id)
        self._task(work, step.id, "RUNNING")

    async def _update(self, work: Pass, step: Update) -> None:
        resources = live_resources(work.want.spec, self._ports.host.facts())
        with self._view.acting(step.id):
            await self._ports.runtime.update(step.id, resources)
        await self._ports.logs.tune(log_wish(work.want, 0))

    async def _refresh(self, work: Pass, step: Refresh) -> None:
        self._written[work.want.uid] = await preparing.refresh(self._ports, work.want)
        work.seen = replace(work.seen, stale_refs=False)

    # end

    async def _delete(self, work: Pass, step: Delete) -> None:
        await self._ports.store.delete(work.want.key, DeleteOptions(Preconditions(uid=work.want.uid)))
        work.over = True

    async def _release(self, work: Pass, step: Release) -> None:
        await release(self._ports, work.want.uid)
        work.seen = replace(work.seen, leftovers=False)

    async def _finish(self, work: Pass, step: Finish) -> None:
        """The finalizer goes last, so that a crash at any instant before finds the object and finishes the work."""
        want = work.want
        try:
            obj = (await self._ports.store.get(want.key)).object
            if obj["metadata"]["uid"] == want.uid:
                left = [f for f in obj["metadata"].get("finalizers") or () if f != FINALIZER]
                await self._ports.store.patch(
                    want.key,
                    {"metadata": {"finalizers": left}},
                    manager="setpoint-agent",
                    preconditions=Preconditions(uid=want.uid),
                )
        except NotFound:
            pass
        await forget(self._ports, want.uid, buried=self._view.in_doubt(want.uid))
        self._written.pop(want.uid, None)
        self._budget.forget(want.uid)
        work.over = True

    def _saw(self, work: Pass, instance: Instance) -> None:
        self._view.note(instance)
        others = (i for i in work.seen.instances if i.revision != instance.revision)
        work.seen = replace(work.seen, instances=tuple(sorted((*others, instance), key=lambda i: i.revision)))

    def _task(self, work: Pass, id: str, state: Any) -> None:
        for instance in work.seen.instances:
            if instance.id == id:
                self._saw(work, replace(instance, task=state, exit=None, pid=instance.pid if state else 0))


async def release(ports: Ports, uid: str) -> None:
    """What belongs to the uid and not to one of its revisions is gone, but for the end of its log."""
    await ports.logs.close(uid, keep_tail=True)
    await ports.sandboxes.release(uid)
    await ports.files.remove(uid)


async def forget(ports: Ports, uid: str, *, buried: bool = False) -> None:
    """Nothing of the uid is left anywhere: its memory and its tombstone go. ``buried``: the tombstone stays, since a call may
    still come to be; the sweep ends what it makes."""
    changes: dict[tuple[str, str], Object | None] = {(CONTAINERS, uid): None}
    if not buried:
        changes[TOMBSTONES, uid] = None
    await ports.ledger.put_all(changes)


def log_wish(want: Desired, revision: int) -> LogWish:
    logging = want.spec.get("logging") or {}
    return LogWish(
        uid=want.uid,
        id=want.id(revision),
        namespace=want.key.namespace,
        name=want.key.name,
        terminal=bool(want.spec.get("tty")),
        stdin=bool(want.spec.get("stdin")),
        max_size_bytes=preparing.size_bytes(logging.get("maxSize")) or 10 << 20,
        max_files=int(logging.get("maxFiles", 5)),
    )


def _declaration(want: Desired, revision: Revision) -> Object:
    """Kept in the record, so that a lost store or ledger can be rebuilt from the node: references, never secret values."""
    return {
        "spec": want.spec,
        "hash": revision.hash,
        "live": revision.live,
        "generation": revision.generation,
        "image": revision.image,
        "digest": revision.digest,
        "stopSignal": revision.stop_signal,
    }


def _revision(mem: Memory, number: int) -> Revision:
    for revision in (mem.current, mem.previous):
        if revision is not None and revision.number == number:
            return revision
    raise AlreadyExists(f"no revision {number} in memory")


def _recalled(work: Pass, instance: Instance, revision: Revision, step: Recall) -> Launched:
    """The run that is under way; when it began is known from the status at best."""
    at = str(work.want.status.get("startedAt") or step.wall)
    age_s = max(0.0, seconds_between(at, step.wall))
    return Launched(instance.revision, 1, at, step.now.plus(-age_s), live=revision.live, refs=work.seen.env_refs)


def _number(name: str) -> int:
    """A signal's number by its name, with or without SIG, or as digits; realtime ones as SIGRTMIN+n or SIGRTMAX-n. An image may
    name anything: what is no signal is SIGTERM, so that its container can be stopped."""
    parts = _SIGNAL.fullmatch(name.upper())
    if parts is None:
        return int(signals.SIGTERM)
    base, offset = parts.groups()
    known = signals.Signals.__members__.get(f"SIG{base}")
    number = int(base) if base.isdigit() else int(known or signals.SIGTERM) + int(offset or 0)
    return number if 0 < number <= LAST_SIGNAL else int(signals.SIGTERM)
