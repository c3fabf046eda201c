"""Docker's words for what is said otherwise here: they work, and tell the native form."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from setpoint.cli.failures import Failed, not_yet
from setpoint.cli.printing import note

Words = Annotated[list[str] | None, typer.Argument(hidden=True)]


def register(app: typer.Typer) -> None:
    for name, verb in (
        ("ps", ps), ("images", images), ("pull", pull), ("rm", rm), ("rmi", rmi), ("inspect", inspect), ("volume", volume),
        ("network", network), ("build", build),
    ):  # fmt: skip
        app.command(name, hidden=True, context_settings={"ignore_unknown_options": True})(verb)


def _do(*words: str) -> None:
    from setpoint.cli.app import main

    note(f"this is: setpoint {shlex.join(words)}")
    raise SystemExit(main(words))


def ps(
    all_: Annotated[bool, typer.Option("-a", "--all")] = False, quiet: Annotated[bool, typer.Option("-q", "--quiet")] = False
) -> None:
    """setpoint get containers"""
    running = [] if all_ else ["--field-selector", "status.phase=Running"]
    _do("get", "containers", *running, *(["-o", "name"] if quiet else []))


def images(_words: Words = None) -> None:
    """setpoint image ls"""
    _do("image", "ls")


def pull(references: Annotated[list[str], typer.Argument()]) -> None:
    """setpoint image pull"""
    _do("image", "pull", *references)


def rm(names: Annotated[list[str], typer.Argument()], force: Annotated[bool, typer.Option("-f", "--force")] = False) -> None:
    """setpoint delete container"""
    _do("delete", "container", *names, *(["--force"] if force else []))


def rmi(references: Annotated[list[str], typer.Argument()]) -> None:
    """setpoint image rm"""
    _do("image", "rm", *references)


def inspect(names: Annotated[list[str], typer.Argument()]) -> None:
    """setpoint get container NAME -o json"""
    _do("get", "container", *names, "-o", "json")


def volume(_words: Words = None) -> None:
    """setpoint get volumes"""
    not_yet("the kind Volume (it will be: setpoint get volumes)")


def network(_words: Words = None) -> None:
    """setpoint get networks"""
    not_yet("the kind Network (it will be: setpoint get networks)")


def build(_words: Words = None) -> None:
    """Setpoint builds no images."""
    raise Failed("setpoint builds no images: build with another tool, save a tar, then: setpoint image load FILE")
