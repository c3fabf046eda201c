"""The Store protocol: desired state, and the status that controllers show.

Two homes implement it, SQLite (``state.sqlite``) and Kubernetes; one contract suite (``setpoint.testing.store_contract``)
holds both. All methods raise the errors of :mod:`state.errors`; ``Unavailable`` and ``InDoubt`` may come from any of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from state.objects import Key, Object, Stored

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
PatchType = Literal["merge", "json"]
Subresource = Literal["", "status"]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. A BOOKMARK carries no object, only the revision up to which all was told."""

    type: EventType
    revision: int
    stored: Stored | None = None
    initial_end: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A snapshot: items in key order, the store's revision, and the token of the next page (empty on the last)."""

    items: tuple[Stored, ...]
    revision: int
    next: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind. ``namespace=""`` means all; selectors in kubectl's syntax; ``fields`` takes
    ``metadata.name``, ``metadata.namespace`` and the kind's selectable fields (else BadRequest)."""

    kind: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""


@dataclass(frozen=True, slots=True)
class Apply:
    """One object for server-side apply by ``manager``. ``force`` takes fields over from other managers."""

    object: Object
    manager: str
    force: bool = False
    take_from: frozenset[str] = frozenset()
    """Managers whose fields are taken over without ``force`` (the human verbs'); listed in ``Applied.taken``."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What apply did with one object: ``configured`` only if anything but managed fields changed."""

    stored: Stored
    outcome: Literal["created", "configured", "unchanged"]
    taken: tuple[tuple[str, str], ...] = ()
    """(field path, former manager) for each field taken over."""


@dataclass(frozen=True, slots=True)
class Preconditions:
    """A delete or patch goes ahead only for this uid and, if given, this revision; otherwise Conflict."""

    uid: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """``options`` are stored with the request (annotation ``setpoint.dev/delete-options``) in the same commit."""

    preconditions: Preconditions = field(default_factory=Preconditions)
    propagation: Literal["Background", "Foreground", "Orphan"] = "Background"
    options: Object = field(default_factory=dict)


class StoreReader(Protocol):
    """Reads. Stale by nothing: a read sees every write that was acknowledged before it began."""

    async def get(self, key: Key) -> Stored:
        """The object. Raises NotFound."""

    async def list(self, select: Selection, *, limit: int = 0, page: str = "") -> Listing:
        """All that match, in key order; ``limit`` pages, ``page`` is a former ``Listing.next``. Raises Gone for an old page."""

    def watch(self, select: Selection, *, since: int | None = None, initial: bool = False) -> AsyncIterator[WatchEvent]:
        """Changes after revision ``since``, for ever, each once and in order. ``since=None``: first ADDED for each object
        there is. ``initial``: after those a BOOKMARK with ``initial_end``. An object that enters or leaves the selection
        is told as ADDED or DELETED. Raises Gone when ``since`` is compacted or from the future. Closing frees at once."""


class StoreWriter(Protocol):
    """Writes. Acknowledged means durable. ``dry_run`` goes through everything but the commit. A write that changes nothing
    keeps the revision and tells no watcher."""

    async def create(self, obj: Object, *, manager: str, dry_run: bool = False) -> Stored:
        """Raises AlreadyExists, Invalid, NotFound (namespace), Denied (namespace terminating)."""

    async def update(self, obj: Object, *, manager: str, subresource: Subresource = "", dry_run: bool = False) -> Stored:
        """Replaces. Raises NotFound, Invalid, Conflict (resourceVersion or uid given and different)."""

    async def patch(
        self,
        key: Key,
        patch: Object | list[Object],
        *,
        type: PatchType = "merge",
        manager: str,
        subresource: Subresource = "",
        preconditions: Preconditions | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Merge patch (RFC 7386) or JSON patch (RFC 6902). Raises NotFound, Invalid, Conflict."""

    async def apply(self, requests: Sequence[Apply], *, dry_run: bool = False) -> list[Applied]:
        """Server-side apply of all or none (SQLite: one transaction), in order. Raises Invalid with every cause of every
        object (``Cause.field`` starts with ``Kind/ns/name: ``when there are several), Conflict with the owners named."""

    async def delete(self, key: Key, options: DeleteOptions = DeleteOptions(), *, dry_run: bool = False) -> Stored:
        """Starts deletion; the answer has ``metadata.deletionTimestamp`` while finalizers hold it. Raises NotFound,
        Conflict."""


class Store(StoreReader, StoreWriter, Protocol):
    """Both, as the API needs it. Most callers should ask for the half that they use."""
