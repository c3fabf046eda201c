"""What the node must remember of one Container by itself; one ledger document per uid."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from controllers.engine.instants import Instant
from state.ledger import CONTAINERS, Ledger
from state.objects import Object

KEPT_EXITS = 10
HALTED = "the node stops"
"""Why of a stop before the host goes down: it outlives the boot in which it was asked for."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Revision:
    """One containerd record. The digest was resolved when it was made and is kept over restarts and reboots."""

    number: int
    hash: str
    generation: int
    image: str
    digest: str
    live: str
    """Hash of the live fields that the record's spec holds."""
    stop_signal: str = ""
    since: Instant | None = None
    """When it was made: the progress deadline counts from here."""
    ready: bool = False
    """It has been Ready once: what came before it may go."""
    writable: bool = False
    """It has something writable mounted that outlives it."""
    refs: str = ""
    """Versions of the ConfigMaps and Secrets that the record's environment came from."""
    stale: bool = False
    """Its image should have been checked with its registry, which did not answer."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A task that was asked for, written before it is. ``at`` is what ``status.startedAt`` shows."""

    revision: int
    number: int
    at: str
    instant: Instant
    live: str = ""
    """Hash of the live fields that the task has."""
    refs: str = ""
    """Versions of the ConfigMaps and Secrets that its environment came from."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """A graceful stop under way. ``kill_at`` None: wait for ever."""

    why: str
    kill_at: Instant | None
    since: Instant | None = None
    """When it was asked for: a shorter grace period, asked for later, counts from here too."""


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How one run ended. ``code`` None: not known (``reason`` Unknown); ``reported`` is then containerd's guess."""

    revision: int
    launch: int
    started_at: str
    finished_at: str
    reason: str
    code: int | None = None
    signal: int | None = None
    message: str = ""
    reported: int | None = None
    requested: bool = False
    """We asked it to stop: not a crash."""


@dataclass(frozen=True, slots=True)
class Memory:
    """All of it. Empty for a uid that was never seen."""

    uid: str
    namespace: str = ""
    name: str = ""
    next_revision: int = 1
    launches: int = 0
    current: Revision | None = None
    previous: Revision | None = None
    """The one that was replaced: stopped, its record and snapshot kept until the current one is Ready."""
    launched: Launched | None = None
    stopping: Stopping | None = None
    finished: bool = False
    """It ran to its end and the policy does not run it again."""
    restart_count: int = 0
    failures: int = 0
    """Quick exits in a row: the exponent of the next delay."""
    next_start: Instant | None = None
    last_delay_s: float = 0.0
    crashes: tuple[Instant, ...] = ()
    quarantined: str = ""
    failed_hash: str = ""
    """The declaration that failed to replace its predecessor: not tried again until it changes."""
    failed_reason: str = ""
    restarted_at: str = ""
    retried_at: str = ""
    stop_seen: bool = False
    """Declared Stopped and seen stopped: the next start is a fresh one."""
    buried: bool = False
    """Its tombstone is written: removal has begun."""
    exits: tuple[ExitRecord, ...] = ()

    @property
    def last_exit(self) -> ExitRecord | None:
        return self.exits[-1] if self.exits else None

    def with_exit(self, record: ExitRecord) -> Memory:
        return replace(self, exits=(*self.exits, record)[-KEPT_EXITS:], launched=None, stopping=None)


def dump(memory: Memory) -> Object:
    """The ledger document: plain JSON, absent what is at its default."""
    doc = {name: value for name, value in asdict(memory).items() if value not in (None, "", (), 0, False) or name == "uid"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in doc.items()}


def remembered(ledger: Ledger, uid: str) -> Memory:
    """What the ledger holds of a uid; empty for one that was never seen."""
    doc = ledger.get(CONTAINERS, uid)
    return load(doc) if doc else Memory(uid)


def load(doc: Object) -> Memory:
    """The inverse of :func:`dump`. Unknown fields (a newer agent's) are dropped, missing ones are at their default."""
    values: dict[str, Any] = {f.name: doc[f.name] for f in fields(Memory) if f.name in doc}
    nested: dict[str, Any] = {
        "current": _revision,
        "previous": _revision,
        "launched": _launched,
        "stopping": _stopping,
        "next_start": _instant,
    }
    for name, build in nested.items():
        if values.get(name):
            values[name] = build(values[name])
    values["crashes"] = tuple(Instant(**c) for c in values.get("crashes") or ())
    values["exits"] = tuple(_pick(ExitRecord, e) for e in values.get("exits") or ())
    return Memory(**values)


def _pick(cls: type[T], doc: Object) -> T:
    return cls(**{f.name: doc[f.name] for f in fields(cls) if f.name in doc})  # type: ignore[arg-type]


def _instant(doc: Object | None) -> Instant | None:
    return Instant(**doc) if doc else None


def _revision(doc: Object) -> Revision:
    return replace(_pick(Revision, doc), since=_instant(doc.get("since")))


def _launched(doc: Object) -> Launched:
    return replace(_pick(Launched, doc), instant=Instant(**doc["instant"]))


def _stopping(doc: Object) -> Stopping:
    return replace(_pick(Stopping, doc), kill_at=_instant(doc.get("kill_at")), since=_instant(doc.get("since")))
