"""Opening a database file: made whole, checked before it is touched, brought forward. Never brought back.

A file is first looked at through a connection that cannot write; only one that is ours, sound, and not newer than this
program is opened for writing. A new file is made aside and renamed, so that a short file is damage and never a beginning.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from state.sqlite.errors import Corrupt, NewerSchema, translated

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100

Verify = Callable[[sqlite3.Connection], str]
"""Looks at rows for what SQLite itself cannot see; returns what is wrong, or nothing."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of file. ``migrations[n]`` brings version n to n + 1; they are only ever appended to."""

    application_id: int
    migrations: tuple[tuple[str, ...], ...]
    verify: Verify

    @property
    def version(self) -> int:
        return len(self.migrations)


def prepare(path: Path, schema: Schema) -> None:
    """Afterwards the file is there, sound, and of our version. Raises Corrupt, NewerSchema, Unavailable."""
    try:
        if not path.exists():
            if _size(_wal(path)):
                raise Corrupt(f"{path} is gone but its log {_wal(path).name} is not; both are left as they are")
            _make(path, schema)
            return
        version = inspect(path, schema)
        if version < schema.version:
            _migrate(path, schema)
    except (sqlite3.Error, OSError) as exc:
        raise translated(exc, path) from exc


def inspect(path: Path, schema: Schema) -> int:
    """The version of a sound file of ours; changes not a byte of it. Raises Corrupt, NewerSchema."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise Corrupt(f"{path} is no database (damaged header, {_size(path)} bytes); it is left as it is: restore a backup")
    shm = path.with_name(path.name + "-shm")
    had_shm = shm.exists()
    mode = "mode=ro" if _size(_wal(path)) else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(_uri(path, mode), uri=True, isolation_level=None)) as connection:
            return _examine(connection, path, schema)
    finally:
        if not had_shm:
            shm.unlink(missing_ok=True)


def connect(path: Path, *, read_only: bool = False) -> Connection:
    """A connection on which BEGIN and COMMIT are said by hand."""

    def opened() -> sqlite3.Connection:
        mode = "mode=ro" if read_only else "mode=rw"
        raw = sqlite3.connect(_uri(path, mode), uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA cell_size_check=ON")
        raw.execute("PRAGMA trusted_schema=OFF")
        raw.execute("PRAGMA temp_store=MEMORY")
        if not read_only:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA journal_size_limit=16777216")
        return raw

    engine = create_engine("sqlite+pysqlite://", creator=opened, poolclass=StaticPool, isolation_level="AUTOCOMMIT")
    return engine.connect()


def _examine(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    """Version before soundness: a newer version may have its own idea of what a sound row is."""
    connection.execute("PRAGMA query_only=ON")
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if application != schema.application_id:
            raise Corrupt(f"{path} is a database of another program, or its header is damaged; it is left as it is")
        if version > schema.version:
            raise NewerSchema(
                f"{path} was written by a newer setpoint (schema {version}, this program knows {schema.version}); "
                "it is left as it is: start the newer program, or restore an older backup"
            )
        connection.execute("PRAGMA cell_size_check=ON")
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        wrong = "" if found == ["ok"] else "; ".join(map(str, found))
        wrong = wrong or ("the schema version is missing" if version < 1 else "")
        wrong = wrong or (schema.verify(connection) if version == schema.version else "")
    except sqlite3.OperationalError as exc:
        raise translated(exc, path) if "no such" not in str(exc) else _damaged(path, str(exc)) from exc
    except (sqlite3.DatabaseError, ValueError, TypeError) as exc:
        raise _damaged(path, str(exc)) from exc
    if wrong:
        raise _damaged(path, wrong)
    return version


def _damaged(path: Path, what: str) -> Corrupt:
    return Corrupt(f"{path} is damaged ({what.strip()}); it is left as it is: restore a backup")


def _make(path: Path, schema: Schema) -> None:
    fresh = path.with_name(path.name + ".new")
    for left in (fresh, fresh.with_name(fresh.name + "-journal")):
        left.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(_uri(fresh, "mode=rw"), uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA application_id={schema.application_id}")
        _bring_forward(connection, schema, 0)
    os.rename(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _migrate(path: Path, schema: Schema) -> None:
    with closing(sqlite3.connect(_uri(path, "mode=rw"), uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        _bring_forward(connection, schema, int(connection.execute("PRAGMA user_version").fetchone()[0]))


def _bring_forward(connection: sqlite3.Connection, schema: Schema, version: int) -> None:
    """All steps or none, and the number with them."""
    connection.execute("BEGIN IMMEDIATE")
    for step in schema.migrations[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={schema.version}")
    connection.execute("COMMIT")


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{options}"


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
