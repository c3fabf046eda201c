"""The writes of the store, as they run on the writer thread inside one savepoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection

from state import writes
from state.apply import apply, track, track_status
from state.clock import Ids, WallClock, rfc3339
from state.errors import AlreadyExists, BadRequest, Cause, Conflict, Denied, Invalid, NotFound, StateError, TooLarge
from state.listkeys import list_keys
from state.objects import Key, Object, Stored, key_of
from state.resources.types import ResourceType, by_kind
from state.sqlite.journal import Journal
from state.sqlite.ring import Change, ChangeType
from state.sqlite.rows import Row, Rows, dumped, facts_of
from state.store import Applied, Apply, DeleteOptions, PatchType, Preconditions, Subresource

AGENT = "setpoint-agent"
"""Manager of the agent's own status writes: one fixed entry, nothing tracked."""

_MAX_BYTES = 3 << 20
"""As large an object as a Kubernetes API server takes in one request."""


class Admit(Protocol):
    """Schema, defaults and hints: ``state.resources.admission.admit``."""

    def __call__(self, obj: Object, old: Object | None, *, strict: bool = True) -> Object:
        """The object to store. Raises Invalid. Must not change its arguments."""


def rules_of(kind: str) -> ResourceType:
    """The rules of a kind. Raises NotFound for one that there is not."""
    found = by_kind(kind)
    if found is None:
        raise NotFound(f"there is no kind {kind!r}", kind=kind)
    return found


def require(row: Row | None, key: Key) -> Row:
    """The row, or NotFound."""
    if row is None:
        raise NotFound(f'{key.kind} "{key.name}" not found', kind=key.kind, name=key.name)
    return row


class Transactions:
    """Every write of the Store protocol. Not reentrant: one thread, one connection."""

    def __init__(self, rows: Rows, journal: Journal, clock: WallClock, ids: Ids, admit: Admit) -> None:
        self._rows = rows
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._admit = admit

    def create(self, connection: Connection, obj: Object, manager: str, uid: str = "") -> Stored:
        """``uid``: of an object that existed before, and whose things on the node carry it; else a fresh one."""
        rules = self._rules_for(obj)
        sent = writes.incoming(obj, rules)
        new = writes.created(sent, rules, uid=uid or self._ids.uid(), now=self._now())
        self._check_room(connection, key_of(new))
        new["metadata"].pop("managedFields", None)
        admitted = self._admit(new, None)
        tracked = track(None, admitted, manager=manager, now=self._now(), keys=list_keys(rules.kind), sent=sent)
        return self._put(connection, None, tracked, rules)

    def update(self, connection: Connection, obj: Object, manager: str, subresource: Subresource) -> Stored:
        rules = self._rules_for(obj)
        new = writes.incoming(obj, rules)
        key = key_of(new)
        row = require(self._rows.find(connection, key), key)
        return self._replace(connection, row, new, manager, subresource, rules)

    def patch(
        self,
        connection: Connection,
        key: Key,
        patch: Object | list[Object],
        type: PatchType,
        manager: str,
        subresource: Subresource,
        preconditions: Preconditions | None,
    ) -> Stored:
        rules = rules_of(key.kind)
        row = require(self._rows.find(connection, key), key)
        writes.check_preconditions(row.object, preconditions)
        new = _patched(row.object, patch, type)
        if not isinstance(new.get("metadata"), dict) or new.get("kind") != key.kind:
            raise Invalid("a patch cannot change what an object is", kind=key.kind, name=key.name)
        return self._replace(connection, row, writes.incoming(new, rules), manager, subresource, rules)

    def apply(self, connection: Connection, requests: Sequence[Apply]) -> list[Applied]:
        """In order; goes on after an error so that every cause is told, and then raises."""
        done: list[Applied] = []
        failed: list[tuple[Key, StateError]] = []
        for request in requests:
            try:
                done.append(self._apply(connection, request))
            except (BadRequest, Invalid, TooLarge, NotFound, Denied, Conflict) as exc:
                if len(requests) == 1:
                    raise
                failed.append((_key_told(request.object), exc))
        if failed:
            raise _joined(failed)
        return done

    def delete(self, connection: Connection, key: Key, options: DeleteOptions) -> Stored:
        rules = rules_of(key.kind)
        row = require(self._rows.find(connection, key, tolerant=True), key)
        writes.check_preconditions(row.object, options.preconditions)
        if key == Key("Namespace", "", "default"):
            raise Denied("the namespace default cannot be deleted", kind=key.kind, name=key.name)
        if not row.readable:
            return self._remove(connection, row, row.object, rules)
        new = writes.deleting(row.object, options, now=self._now(), finalizer=self._propagation(connection, row, options))
        if key.kind == "Namespace":
            new = {**new, "status": {**(new.get("status") or {}), "phase": "Terminating"}}
        return self._finish(connection, row, new, rules)

    def _apply(self, connection: Connection, request: Apply) -> Applied:
        rules = self._rules_for(request.object)
        config = writes.incoming(request.object, rules)
        key = key_of(config)
        if not key.name:
            raise Invalid("apply needs a name", causes=[Cause("metadata.name", "is required", "FieldValueRequired")])
        row = self._rows.find(connection, key)
        live = row.object if row else None
        _check_meant(config, live)

        def admit(merged: Object) -> Object:
            if live is not None:
                new = writes.replaced(live, merged, rules)
                return writes.with_generation(live, self._admit(new, live), rules)
            self._check_room(connection, key)
            return self._admit(writes.created(merged, rules, uid=self._ids.uid(), now=self._now()), None)

        outcome = apply(
            live,
            config,
            manager=request.manager,
            now=self._now(),
            keys=list_keys(rules.kind),
            force=request.force,
            take_from=request.take_from,
            admit=admit,
        )
        new = outcome.object
        if row is None or live is None:
            return Applied(self._put(connection, None, new, rules), "created")
        changed = writes.unmanaged(live) != writes.unmanaged(new)
        stored = self._finish(connection, row, new, rules)
        return Applied(stored, "configured" if changed else "unchanged", outcome.taken)

    def _replace(
        self, connection: Connection, row: Row, sent: Object, manager: str, subresource: Subresource, rules: ResourceType
    ) -> Stored:
        old = row.object
        new = writes.replaced(old, sent, rules, subresource=subresource)
        if subresource == "status" and manager == AGENT:
            return self._finish(connection, row, track_status(new, manager=manager, now=self._now()), rules)
        new = self._admit(new, old)
        if subresource == "":
            new = writes.with_generation(old, new, rules)
        keys = list_keys(rules.kind)
        new = track(old, new, manager=manager, now=self._now(), keys=keys, subresource=subresource)
        return self._finish(connection, row, new, rules)

    def _finish(self, connection: Connection, row: Row, new: Object, rules: ResourceType) -> Stored:
        """Stores what changed; removes what nothing holds any more."""
        if writes.finished(new) and not self._occupied(connection, new):
            return self._remove(connection, row, new, rules)
        if writes.same(row.object, new):
            return row.stored
        stored = self._put(connection, row, new, rules)
        if rules.kind == "Namespace" and "deletionTimestamp" not in row.object["metadata"]:
            self._empty(connection, new)
        return stored

    def _put(self, connection: Connection, row: Row | None, obj: Object, rules: ResourceType) -> Stored:
        revision = self._journal.next
        stored = _at(obj, revision)
        if len(stored.body) > _MAX_BYTES:
            what = f"{stored.key} is too large: {len(stored.body)} bytes, the limit is {_MAX_BYTES}"
            raise TooLarge(what, kind=stored.key.kind, name=stored.key.name)
        self._rows.put(connection, stored, obj, new=row is None, secret=rules.secret)
        self._log(connection, "MODIFIED" if row else "ADDED", row, stored, rules)
        return stored

    def _remove(self, connection: Connection, row: Row, obj: Object, rules: ResourceType) -> Stored:
        stored = _at(obj, self._journal.next)
        self._rows.drop(connection, stored.key)
        self._log(connection, "DELETED", row, stored, rules)
        self._leave(connection, stored.key.namespace)
        return stored

    def _log(self, connection: Connection, type: ChangeType, row: Row | None, stored: Stored, rules: ResourceType) -> None:
        before = facts_of(row.object, rules) if row else None
        change = Change(stored.revision, type, stored.key, stored, before)
        # a secret whose key is lost is deleted under its name alone, which is none
        sealed = rules.secret and (row is None or row.readable)
        self._rows.log(connection, change, at=int(self._clock.now().timestamp()), secret=sealed)
        self._journal.record(change)

    def _check_room(self, connection: Connection, key: Key) -> None:
        """The name is free, and its namespace is there and stays."""
        if key.namespace:
            space = self._rows.find(connection, Key("Namespace", "", key.namespace))
            if space is None:
                raise NotFound(f'namespaces "{key.namespace}" not found', kind="Namespace", name=key.namespace)
            if "deletionTimestamp" in space.object["metadata"]:
                cause = Cause("metadata.namespace", f"namespace {key.namespace} is being terminated", "NamespaceTerminating")
                what = f"unable to create new content in namespace {key.namespace} because it is being terminated"
                raise Denied(what, causes=[cause], kind=key.kind, name=key.name)
        if self._rows.find(connection, key, tolerant=True) is not None:
            raise AlreadyExists(f'{key.kind} "{key.name}" already exists', kind=key.kind, name=key.name)

    def _propagation(self, connection: Connection, row: Row, options: DeleteOptions) -> str:
        """The finalizer of the propagation; without dependents there is nothing to wait for."""
        if options.propagation == "Background" or not self._rows.has_dependents(connection, row.stored.uid):
            return ""
        return writes.FOREGROUND if options.propagation == "Foreground" else writes.ORPHAN

    def _occupied(self, connection: Connection, obj: Object) -> bool:
        return obj["kind"] == "Namespace" and bool(self._rows.members(connection, obj["metadata"]["name"]))

    def _empty(self, connection: Connection, namespace: Object) -> None:
        """A namespace that is to go takes everything in it along, each by its own finalizers."""
        for key in self._rows.members(connection, namespace["metadata"]["name"]):
            if self._rows.find(connection, key, tolerant=True) is not None:
                self.delete(connection, key, DeleteOptions())

    def _leave(self, connection: Connection, namespace: str) -> None:
        """The last one out of a terminating namespace ends it."""
        key = Key("Namespace", "", namespace)
        row = self._rows.find(connection, key) if namespace else None
        if row is not None and writes.finished(row.object) and not self._occupied(connection, row.object):
            self._remove(connection, row, row.object, rules_of("Namespace"))

    def _rules_for(self, obj: Object) -> ResourceType:
        """The rules of a sent object's kind; admission knows the best words for one that there is not."""
        kind = obj.get("kind") if isinstance(obj, dict) else None
        found = by_kind(kind) if isinstance(kind, str) else None
        if found is None:
            self._admit(obj, None)
            raise BadRequest(f"there is no kind {kind!r}")
        return found

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def _patched(old: Object, patch: Object | list[Object], type: PatchType) -> Object:
    try:
        if type == "json":
            return writes.json_patch(old, patch)
        if isinstance(patch, dict):
            merged: Object = writes.merge_patch(old, patch)
            return merged
    except RecursionError as exc:
        raise BadRequest("the patch is nested too deeply") from exc
    raise BadRequest("a merge patch is an object")


def _at(obj: Object, revision: int) -> Stored:
    """The object at a revision, which its metadata tells."""
    whole = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}
    return Stored(key_of(whole), whole["metadata"]["uid"], revision, dumped(whole))


def _check_meant(config: Object, live: Object | None) -> None:
    """An applied object that names a uid or a revision means that one."""
    for name in ("uid", "resourceVersion"):
        given = config["metadata"].get(name)
        if not given:
            continue
        if live is None:
            key = key_of(config)
            raise Conflict(f"{key}: {name} {given} was given, but there is no such object", kind=key.kind, name=key.name)
        if live["metadata"][name] != given:
            raise writes.stale(live, f"{name} {given} is not the present one, {live['metadata'][name]}")


def _key_told(obj: Object) -> Key:
    try:
        return key_of(obj)
    except (AttributeError, TypeError):
        return Key("", "", "")


def _joined(failed: Sequence[tuple[Key, StateError]]) -> StateError:
    """One error for several objects: of the class that they share, else what is wrong before what is in the way."""
    wrong = [(key, exc) for key, exc in failed if not isinstance(exc, Conflict)] or failed
    causes: list[Cause] = []
    for key, exc in wrong:
        told = exc.causes or (Cause("", exc.message),)
        causes += [Cause(f"{key}: {cause.field}", cause.message, cause.reason) for cause in told]
    classes = {type(exc) for _, exc in wrong}
    raised = classes.pop() if len(classes) == 1 else Invalid
    return raised("; ".join(f"{key}: {exc}" for key, exc in wrong), causes=causes)
