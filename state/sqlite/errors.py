"""What can be wrong with a database file, and SQLite's errors in the words of :mod:`state.errors`."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from state.errors import InDoubt, StateError, Unavailable


class Corrupt(Unavailable):
    """The file is damaged, or is none of ours. It is left as it is, and nothing is done on its word."""


class NewerSchema(Unavailable):
    """The file was written by a newer version of this program. It is left as it is."""


_MEANING = {
    sqlite3.SQLITE_FULL: "no space is left for it",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_NOMEM: "memory is short",
}


def primary_code(exc: BaseException) -> int:
    """SQLite's primary result code of an exception, 0 if it is none of SQLite's."""
    origin = exc.orig if isinstance(exc, DBAPIError) else exc
    return (getattr(origin, "sqlite_errorcode", None) or 0) & 0xFF


def translated(exc: BaseException, path: object, *, committing: bool = False) -> StateError:
    """The error to raise instead. A commit that failed while it was written may still have happened: InDoubt."""
    if isinstance(exc, StateError):
        return exc
    code = primary_code(exc)
    origin = exc.orig if isinstance(exc, DBAPIError) else exc
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(f"{path} is damaged ({origin}); it is left as it is: restore a backup")
    why = f"{path}: {_MEANING.get(code, 'the database failed')} ({origin})"
    if committing and code == sqlite3.SQLITE_IOERR:
        return InDoubt(why)
    return Unavailable(why, retry_after_s=1)


def again(error: StateError) -> StateError:
    """The same error for another caller: an exception that is raised twice collects the tracebacks of both."""
    return type(error)(error.message, causes=error.causes, retry_after_s=error.retry_after_s)
