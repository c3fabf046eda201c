"""How a verb ends other than well: one line per problem, and the exit code (cli.md)."""

from __future__ import annotations

from typing import NoReturn

from state.errors import StateError

DONE, FAILED, WRONG_USE, UNREACHABLE, OUT_OF_TIME = 0, 1, 2, 3, 124
INTERRUPTED = 130


class Failed(Exception):
    """Ends the verb with ``lines`` on stderr and ``code``."""

    def __init__(self, *lines: str, code: int = FAILED) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.code = code


def wrong_use(message: str) -> Failed:
    return Failed(message, code=WRONG_USE)


def not_yet(what: str) -> NoReturn:
    raise Failed(f"{what} is not supported yet")


def explain(exc: StateError) -> tuple[list[str], int]:
    """The lines that tell of an error of the API, and the exit code."""
    from setpoint.client import AgentUnreachable

    code = UNREACHABLE if isinstance(exc, AgentUnreachable) else FAILED
    if not exc.causes:
        return [exc.message], code
    who = f"{exc.kind} {exc.name}: " if exc.kind and exc.name else ""
    lines = [f"{'' if cause.field.startswith(who) else who}{cause}" for cause in exc.causes]
    return list(dict.fromkeys(lines)), code
