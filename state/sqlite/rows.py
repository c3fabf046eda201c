"""The store's tables: rows in and out, sealed where a kind is secret, each with a checksum.

SQLite finds damage in its structure, not in the bytes of a value; the checksum finds that. The change log keeps, for every
change, what selectors had seen of the object before, so that a watch that resumes can tell who left its selection.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Index, Integer, LargeBinary, MetaData, String, Table, Text, bindparam, select

from state.errors import Cause, Invalid, Unavailable
from state.objects import Key, Object, Stored
from state.resources.types import ResourceType
from state.selectors import field_value
from state.sqlite.errors import Corrupt
from state.sqlite.migrations import Schema
from state.sqlite.ring import Change, ChangeType, Facts
from state.sqlite.secrets import SecretBox
from state.writes import owner_uids

_METADATA = MetaData()

META = Table("meta", _METADATA, Column("name", String, primary_key=True), Column("value", String, nullable=False))

OBJECTS = Table(
    "objects",
    _METADATA,
    Column("kind", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("uid", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", String, nullable=False),
    Column("owners", Text, nullable=False),
    Column("checksum", Integer, nullable=False),
)

CHANGES = Table(
    "changes",
    _METADATA,
    Column("revision", Integer, primary_key=True),
    Column("at", Integer, nullable=False),
    Column("type", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("before", LargeBinary, nullable=False),
    Column("key_id", String, nullable=False),
    Column("checksum", Integer, nullable=False),
)
Index("changes_by_age", CHANGES.c.at)

_MIGRATIONS = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE objects (kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, "
        "revision INTEGER NOT NULL, body BLOB NOT NULL, key_id TEXT NOT NULL, owners TEXT NOT NULL, "
        "checksum INTEGER NOT NULL, PRIMARY KEY (kind, namespace, name))",
        "CREATE TABLE changes (revision INTEGER PRIMARY KEY, at INTEGER NOT NULL, type TEXT NOT NULL, kind TEXT NOT NULL, "
        "namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, body BLOB NOT NULL, before BLOB NOT NULL, "
        "key_id TEXT NOT NULL, checksum INTEGER NOT NULL)",
        "CREATE INDEX changes_by_age ON changes (at)",
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One object as it lies in its table. ``readable`` is False if its key is lost: then the body names it and no more."""

    stored: Stored
    object: Object
    readable: bool = True


def dumped(obj: Object) -> bytes:
    """JSON bytes. Raises Invalid for what JSON cannot carry."""
    try:
        return orjson.dumps(obj)
    except (TypeError, ValueError, RecursionError) as exc:
        raise Invalid(f"the object is no JSON: {exc}", causes=[Cause("", str(exc))]) from exc


def facts_of(obj: Object, rules: ResourceType) -> Facts:
    """What selectors see of an object."""
    meta = obj.get("metadata") or {}
    fields = {path: field_value(obj, path) for path in rules.selectable}
    fields |= {"metadata.name": meta.get("name", ""), "metadata.namespace": meta.get("namespace", "")}
    return Facts(meta.get("labels") or {}, fields)


class Rows:
    """Reads and writes rows on the connection that it is given."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box
        key = (OBJECTS.c.kind == bindparam("k"), OBJECTS.c.namespace == bindparam("ns"), OBJECTS.c.name == bindparam("n"))
        self._one = select(OBJECTS).where(*key)
        self._all = select(OBJECTS).where(OBJECTS.c.kind == bindparam("k")).order_by(OBJECTS.c.namespace, OBJECTS.c.name)
        self._in_namespace = self._all.where(OBJECTS.c.namespace == bindparam("ns"))
        self._members = select(OBJECTS).where(OBJECTS.c.namespace == bindparam("ns")).order_by(OBJECTS.c.kind, OBJECTS.c.name)
        self._delete = OBJECTS.delete().where(*key)
        self._sealed = select(OBJECTS.c.kind).where(OBJECTS.c.key_id != "").limit(1)
        self._log = select(CHANGES).where(CHANGES.c.revision > bindparam("since")).order_by(CHANGES.c.revision)

    def find(self, connection: Connection, key: Key, *, tolerant: bool = False) -> Row | None:
        """The row of a key. Raises Unavailable if its key is lost, unless ``tolerant``."""
        if not all(map(_encodable, key)):
            return None
        row = connection.execute(self._one, {"k": key.kind, "ns": key.namespace, "n": key.name}).first()
        if row is None:
            return None
        try:
            stored = self._stored(row)
        except Unavailable as exc:
            if not tolerant or isinstance(exc, Corrupt):
                raise
            meta = {"name": row.name, "namespace": row.namespace, "uid": row.uid, "resourceVersion": str(row.revision)}
            obj = {"apiVersion": "v1", "kind": row.kind, "metadata": meta}
            return Row(Stored(key, row.uid, row.revision, dumped(obj)), obj, readable=False)
        return Row(stored, orjson.loads(stored.body))

    def select(self, connection: Connection, kind: str, namespace: str) -> Iterator[Stored]:
        """All of a kind, in the order of namespace and name."""
        if not _encodable(namespace):
            return
        if namespace:
            rows = connection.execute(self._in_namespace, {"k": kind, "ns": namespace})
        else:
            rows = connection.execute(self._all, {"k": kind})
        for row in rows:
            yield self._stored(row)

    def members(self, connection: Connection, namespace: str) -> list[Key]:
        """Everything that lives in a namespace."""
        return [Key(row.kind, row.namespace, row.name) for row in connection.execute(self._members, {"ns": namespace})]

    def has_dependents(self, connection: Connection, uid: str) -> bool:
        """Whether any object names this uid as its owner."""
        found = select(OBJECTS.c.kind).where(OBJECTS.c.owners.contains(uid, autoescape=True)).limit(1)
        return connection.execute(found).first() is not None

    def put(self, connection: Connection, stored: Stored, obj: Object, *, new: bool, secret: bool) -> None:
        """Writes the object's row."""
        key_id, body = self._seal(connection, stored.key, stored.revision, stored.body, secret=secret)
        values = {
            "uid": stored.uid,
            "revision": stored.revision,
            "body": body,
            "key_id": key_id,
            "owners": " ".join(owner_uids(obj)),
            "checksum": _checksum(stored.key, stored.uid, stored.revision, body),
        }
        key = stored.key
        if new:
            connection.execute(OBJECTS.insert(), {"kind": key.kind, "namespace": key.namespace, "name": key.name, **values})
        else:
            connection.execute(_UPDATE, {"k": key.kind, "ns": key.namespace, "n": key.name, **values})

    def drop(self, connection: Connection, key: Key) -> None:
        """Deletes the object's row."""
        connection.execute(self._delete, {"k": key.kind, "ns": key.namespace, "n": key.name})

    def log(self, connection: Connection, change: Change, *, at: int, secret: bool) -> None:
        """Appends to the change log."""
        key, stored = change.key, change.stored
        before = dumped({"labels": change.before.labels, "fields": change.before.fields}) if change.before else b""
        key_id, body = self._seal(connection, key, change.revision, stored.body, secret=secret)
        if before and secret:
            _, before = self._seal(connection, key, change.revision, before, secret=True)
        connection.execute(
            CHANGES.insert(),
            {
                "revision": change.revision,
                "at": at,
                "type": change.type,
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": stored.uid,
                "body": body,
                "before": before,
                "key_id": key_id,
                "checksum": _checksum(key, stored.uid, change.revision, body, before),
            },
        )

    def changes(self, connection: Connection, since: int, limit: int) -> list[Change | int]:
        """The log after a revision. A change whose key is lost is its bare revision."""
        found: list[Change | int] = []
        for row in connection.execute(self._log.limit(limit), {"since": since}):
            try:
                found.append(self._change(row))
            except Corrupt:
                raise
            except Unavailable:
                found.append(row.revision)
        return found

    def _seal(self, connection: Connection, key: Key, revision: int, plain: bytes, *, secret: bool) -> tuple[str, bytes]:
        if not secret:
            return "", plain

        def in_use() -> bool:
            return connection.execute(self._sealed).first() is not None

        return self._box.seal(plain, _place(key, revision), in_use=in_use)

    def _stored(self, row: Any) -> Stored:
        key = Key(row.kind, row.namespace, row.name)
        if _checksum(key, row.uid, row.revision, row.body) != row.checksum:
            raise Corrupt(f"the row of {key} is damaged; it is left as it is: restore a backup")
        body = self._box.open(row.key_id, row.body, _place(key, row.revision)) if row.key_id else bytes(row.body)
        return Stored(key, row.uid, row.revision, body)

    def _change(self, row: Any) -> Change:
        key = Key(row.kind, row.namespace, row.name)
        if _checksum(key, row.uid, row.revision, row.body, row.before) != row.checksum:
            raise Corrupt(f"the change {row.revision} of {key} is damaged; it is left as it is: restore a backup")
        body, before = bytes(row.body), bytes(row.before)
        if row.key_id:
            place = _place(key, row.revision)
            body = self._box.open(row.key_id, body, place)
            before = self._box.open(row.key_id, before, place) if before else b""
        seen = orjson.loads(before) if before else None
        facts = Facts(seen["labels"], seen["fields"]) if seen else None
        kind: ChangeType = row.type
        return Change(row.revision, kind, key, Stored(key, row.uid, row.revision, body), facts)


_UPDATE = (
    OBJECTS.update()
    .where(OBJECTS.c.kind == bindparam("k"), OBJECTS.c.namespace == bindparam("ns"), OBJECTS.c.name == bindparam("n"))
    .values({name: bindparam(name) for name in ("uid", "revision", "body", "key_id", "owners", "checksum")})
)


def _encodable(text: str) -> bool:
    """Whether UTF-8 can carry it: a lone surrogate names nothing that can be stored."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _place(key: Key, revision: int) -> bytes:
    return f"{key} revision {revision}".encode()


def checksum(names: Sequence[object], *parts: object) -> int:
    """Of a row's names and its bytes. What is of another type than it should be has a sum too: another one."""
    value = zlib.crc32("\0".join(map(str, names)).encode())
    for part in parts:
        value = zlib.crc32(part if isinstance(part, bytes) else repr(part).encode(), value)
    return value


def _checksum(key: Key, uid: str, revision: int, *parts: bytes) -> int:
    return checksum((*key, uid, revision), *parts)


def _verify(connection: sqlite3.Connection) -> str:
    """Sums every row; looks for what the store cannot do without."""
    known = {row[0] for row in connection.execute("SELECT name FROM meta")}
    missing = {"engine_id", "epoch", "revision", "compacted"} - known
    if known and missing:
        return f"meta lacks {', '.join(sorted(missing))}"
    top = 0
    for row in connection.execute("SELECT kind, namespace, name, uid, revision, body, checksum FROM objects"):
        if _checksum(Key(*row[:3]), row[3], row[4], row[5]) != row[6]:
            return f"the row of {Key(*row[:3])} does not fit its checksum"
        top = max(top, row[4])
    for row in connection.execute("SELECT kind, namespace, name, uid, revision, body, before, checksum FROM changes"):
        if _checksum(Key(*row[:3]), row[3], row[4], row[5], row[6]) != row[7]:
            return f"the change {row[4]} does not fit its checksum"
        top = max(top, row[4])
    found = connection.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()
    if found and int(found[0]) < top:
        return f"revision {found[0]} is behind its rows ({top})"
    return ""


SCHEMA = Schema(application_id=0x53505453, migrations=_MIGRATIONS, verify=_verify)
