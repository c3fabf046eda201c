"""The Store on SQLite: the Store protocol over :mod:`state.sqlite.database`."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

import orjson
from sqlalchemy import Connection
from sqlalchemy import select as sql_select

from state.clock import Ids, WallClock
from state.errors import BadRequest, Gone, Unavailable
from state.objects import Key, Object, Stored
from state.selectors import Selector, matches, parse_fields, parse_labels
from state.sqlite.database import Database, DryRun
from state.sqlite.journal import Journal, Retention
from state.sqlite.ring import Change, Facts, Ring
from state.sqlite.rows import META, SCHEMA, Rows, facts_of
from state.sqlite.secrets import SecretBox
from state.sqlite.transaction import Admit, Transactions, require, rules_of
from state.store import (
    Applied,
    Apply,
    DeleteOptions,
    EventType,
    Listing,
    PatchType,
    Preconditions,
    Selection,
    Subresource,
    WatchEvent,
)

T = TypeVar("T")
# inside the class the word list is a method
_Patch = Object | list[Object]
_Results = list[Applied]
_LOG_PAGE = 200
_OPEN_PAGES = 4
_FAIR = 64
"""After so many events in a row the loop may do something else."""


def _real_admit(obj: Object, old: Object | None, *, strict: bool = True) -> Object:
    """Loaded late: the models cost what a client without a store need not pay."""
    from state.resources.admission import admit

    return admit(obj, old, strict=strict)


@dataclass(frozen=True, slots=True)
class Options:
    """What can be told otherwise. ``secrets_key``: the key file, by default ``secrets.key`` beside the store. ``ring``:
    changes kept in memory for watchers. ``engine_id``: of a store made anew where one was, since what runs carries it."""

    secrets_key: Path | None = None
    retention: Retention = field(default_factory=Retention)
    ring: int = 1024
    admit: Admit = _real_admit
    engine_id: str = ""
    inline: bool = False
    """Without threads, for simulations."""


@dataclass(frozen=True, slots=True)
class _Filter:
    """A Selection, read."""

    kind: str
    namespace: str
    labels: Selector
    fields: Selector

    @property
    def plain(self) -> bool:
        return not self.labels and not self.fields

    def takes(self, facts: Facts) -> bool:
        return matches(self.labels, facts.labels) and matches(self.fields, facts.fields)


class SqliteStore:
    """Implements ``state.store.Store``. Made by :meth:`open`; belongs to no event loop."""

    def __init__(self, database: Database, rows: Rows, journal: Journal, ring: Ring, writer: Transactions) -> None:
        self._database = database
        self._rows = rows
        self._journal = journal
        self._ring = ring
        self._writer = writer
        self._pages: OrderedDict[int, tuple[tuple[Stored, ...], int, bool]] = OrderedDict()
        self._page_ids = count(1)

    @classmethod
    async def open(cls, path: Path, *, clock: WallClock, ids: Ids, options: Options = Options()) -> SqliteStore:
        """The store in this file, made if there is none. Raises Corrupt, NewerSchema, Unavailable."""
        rows = Rows(SecretBox(options.secrets_key or path.with_name("secrets.key")))
        ring = Ring(options.ring)
        journal = Journal(rows, ring, clock, ids, options.retention, options.engine_id)
        database = Database(path, SCHEMA, journal, inline=options.inline)
        await database.open()
        store = cls(database, rows, journal, ring, Transactions(rows, journal, clock, ids, options.admit))
        if journal.revision == 0:
            await store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}, manager="setpoint")
        return store

    async def close(self) -> None:
        """Ends all watches and gives the file back."""
        self._ring.close()
        await self._database.close()

    @property
    def engine_id(self) -> str:
        """Made with the store; marks everything that we own on the node."""
        return self._journal.facts["engine_id"]

    @property
    def epoch(self) -> str:
        """Another one whenever the database was replaced: revisions of two epochs cannot be compared."""
        return self._journal.facts["epoch"]

    @property
    def restored_at(self) -> str:
        """When this database was put back from a backup; empty if it never was."""
        return self._journal.facts.get("restored_at", "")

    @property
    def revision(self) -> int:
        """The newest revision that watchers were told of."""
        return self._ring.head

    @property
    def compacted(self) -> int:
        """Watches can resume after this revision, not before."""
        return self._journal.compacted

    @property
    def database(self) -> Database:
        """For witnesses: counters and the path."""
        return self._database

    @property
    def waiting_watchers(self) -> int:
        """Watches that have told everything and wait for more."""
        return self._ring.watchers

    async def get(self, key: Key) -> Stored:
        rules_of(key.kind)
        return (await self._database.read(lambda c: require(self._rows.find(c, key), key))).stored

    async def list(self, select: Selection, *, limit: int = 0, page: str = "") -> Listing:
        chosen = _read_selection(select)
        if page:
            return self._next_page(page, limit)
        items, revision = await self._database.read(lambda c: self._select(c, chosen))
        return self._paged(items, revision, limit, counted=chosen.plain)

    def watch(self, select: Selection, *, since: int | None = None, initial: bool = False) -> AsyncIterator[WatchEvent]:
        return self._watch(_read_selection(select), since, initial)

    async def create(self, obj: Object, *, manager: str, dry_run: bool = False) -> Stored:
        return await self._write(lambda c: self._writer.create(c, obj, manager), dry_run)

    async def restore(self, obj: Object, *, uid: str, manager: str) -> Stored:
        """Creates an object again under the uid it had: for adoption. Not part of the Store protocol. Raises as ``create``."""
        return await self._write(lambda c: self._writer.create(c, obj, manager, uid), dry_run=False)

    async def update(self, obj: Object, *, manager: str, subresource: Subresource = "", dry_run: bool = False) -> Stored:
        return await self._write(lambda c: self._writer.update(c, obj, manager, subresource), dry_run)

    async def patch(
        self,
        key: Key,
        patch: _Patch,
        *,
        type: PatchType = "merge",
        manager: str,
        subresource: Subresource = "",
        preconditions: Preconditions | None = None,
        dry_run: bool = False,
    ) -> Stored:
        return await self._write(
            lambda c: self._writer.patch(c, key, patch, type, manager, subresource, preconditions), dry_run
        )

    async def apply(self, requests: Sequence[Apply], *, dry_run: bool = False) -> _Results:
        return await self._write(lambda c: self._writer.apply(c, requests), dry_run)

    async def delete(self, key: Key, options: DeleteOptions = DeleteOptions(), *, dry_run: bool = False) -> Stored:
        return await self._write(lambda c: self._writer.delete(c, key, options), dry_run)

    async def _write(self, run: Callable[[Connection], T], dry_run: bool) -> T:
        if not dry_run:
            return await self._database.write(run)

        def rehearse(connection: Connection) -> T:
            raise DryRun(run(connection))

        return await self._database.write(rehearse)

    def _select(self, connection: Connection, chosen: _Filter) -> tuple[tuple[Stored, ...], int]:
        revision = int(connection.execute(sql_select(META.c.value).where(META.c.name == "revision")).scalar_one())
        rules = rules_of(chosen.kind)
        found = self._rows.select(connection, chosen.kind, chosen.namespace)
        if not chosen.plain:
            found = (stored for stored in found if chosen.takes(facts_of(orjson.loads(stored.body), rules)))
        return tuple(found), revision

    def _paged(self, items: tuple[Stored, ...], revision: int, limit: int, *, counted: bool) -> Listing:
        """The first page; the rest of the snapshot waits in memory for whoever asks, the latest few of them."""
        if not limit or len(items) <= limit:
            return Listing(items, revision)
        number = next(self._page_ids)
        self._pages[number] = (items[limit:], revision, counted)
        while len(self._pages) > _OPEN_PAGES:
            self._pages.popitem(last=False)
        token = base64.urlsafe_b64encode(json.dumps([number, self.epoch, 0]).encode()).decode()
        return Listing(items[:limit], revision, token, len(items) - limit if counted else None)

    def _next_page(self, page: str, limit: int) -> Listing:
        try:
            number, epoch, start = json.loads(base64.urlsafe_b64decode(page))
            start = int(start)
        except (ValueError, TypeError) as exc:
            raise BadRequest("the continue token cannot be read") from exc
        if epoch != self.epoch or not isinstance(number, int) or number not in self._pages:
            raise Gone("the provided continue parameter is too old: list again from the beginning")
        rest, revision, counted = self._pages[number]
        self._pages.move_to_end(number)
        end = start + limit if limit else len(rest)
        if end >= len(rest):
            # kept, not dropped: an answer that was lost on the way can be asked for again
            return Listing(rest[start:], revision)
        token = base64.urlsafe_b64encode(json.dumps([number, epoch, end]).encode()).decode()
        return Listing(rest[start:end], revision, token, len(rest) - end if counted else None)

    async def _watch(self, chosen: _Filter, since: int | None, initial: bool) -> AsyncGenerator[WatchEvent, None]:
        if since is None:
            items, cursor = await self._database.read(lambda c: self._select(c, chosen))
            for number, stored in enumerate(items, 1):
                yield WatchEvent("ADDED", stored.revision, stored)
                if number % _FAIR == 0:
                    await asyncio.sleep(0)
            del items
            if initial:
                yield WatchEvent("BOOKMARK", cursor, initial_end=True)
        else:
            cursor = since
            await self._check_since(cursor)
        while True:
            while cursor < self._ring.head:
                change = self._ring.at(cursor + 1)
                if change is not None:
                    changes: Sequence[Change | int] = (change,)
                else:
                    changes = await self._read_log(cursor)
                for each in changes:
                    cursor = each if isinstance(each, int) else each.revision
                    event = _event(each, chosen)
                    if event is not None:
                        yield event
                    if cursor % _FAIR == 0:
                        await asyncio.sleep(0)
            await self._ring.wait(cursor)

    async def _check_since(self, since: int) -> None:
        if since < self._journal.compacted:
            raise _too_old(since)
        if since > self._ring.head:
            # a list may know of a commit a moment before watchers are told
            known = await self._database.read(
                lambda c: int(c.execute(sql_select(META.c.value).where(META.c.name == "revision")).scalar_one())
            )
            if since > known:
                raise Gone(f"resource version {since} is from the future (the store is at {known}): list again")

    async def _read_log(self, cursor: int) -> Sequence[Change | int]:
        def read(connection: Connection) -> Sequence[Change | int]:
            return self._rows.changes(connection, cursor, _LOG_PAGE)

        changes = await self._database.read(read)
        first = changes[0] if changes else None
        if first is None or (first if isinstance(first, int) else first.revision) != cursor + 1:
            raise _too_old(cursor)
        return changes


def _too_old(revision: int) -> Gone:
    return Gone(f"too old resource version: {revision}: list again")


def _read_selection(select: Selection) -> _Filter:
    rules = rules_of(select.kind)
    supported = {"metadata.name", "metadata.namespace", *rules.selectable}
    return _Filter(select.kind, select.namespace, parse_labels(select.labels), parse_fields(select.fields, supported))


def _event(change: Change | int, chosen: _Filter) -> WatchEvent | None:
    """What this selection is told of a change. One whose key is lost may be of ours only for kinds that are sealed."""
    if isinstance(change, int):
        if rules_of(chosen.kind).secret:
            raise Unavailable(f"change {change} cannot be read: its key is lost; list again")
        return None
    if change.key.kind != chosen.kind or (chosen.namespace and change.key.namespace != chosen.namespace):
        return None
    if chosen.plain:
        return WatchEvent(change.type, change.revision, change.stored)
    if change.after is None:
        change.after = facts_of(orjson.loads(change.stored.body), rules_of(chosen.kind))
    was = change.before is not None and chosen.takes(change.before)
    now = change.type != "DELETED" and chosen.takes(change.after)
    if not was and not now:
        return None
    told: EventType = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
    return WatchEvent(told, change.revision, change.stored)
