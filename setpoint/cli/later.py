"""Verbs of the command line's plan whose turn has not come: known by name, refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from setpoint.cli.failures import not_yet

VERBS = (
    "edit", "set", "patch", "login", "explain", "stats", "top", "drift", "exposure", "df", "cp", "rollout", "scale",
    "port-forward", "prune", "backup", "restore", "recover",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    for name in VERBS:
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        app.command(name, hidden=True, context_settings=settings, help="Not supported yet.")(_refusal(name))


def _refusal(name: str) -> Callable[..., None]:
    def refused(_words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
        not_yet(name)

    return refused
