"""logs: what containers printed, of one or of several at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.failures import Failed, explain, wrong_use
from setpoint.cli.options import AllNamespaces, Labels, Names, Namespace, connect, seconds
from setpoint.cli.printing import moment
from state.errors import StateError
from state.objects import Object

if TYPE_CHECKING:
    from setpoint.client import Client


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    names: Names = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on and show what is printed.")] = False,
    tail: Annotated[int, typer.Option("--tail", help="Only the last lines; -1 is all.", show_default=True)] = -1,
    since: Annotated[str, typer.Option("--since", help="Since 10m ago, or since a time such as 2026-01-31T12:00:00Z.")] = "",
    timestamps: Annotated[bool, typer.Option("-t", "--timestamps", help="The time before every line.")] = False,
    previous: Annotated[bool, typer.Option("-p", "--previous", help="The run before the present one.")] = False,
    prefix: Annotated[bool, typer.Option("--prefix", help="The name before every line; always with several.")] = False,
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Show what containers printed."""
    client = connect()
    query: dict[str, Any] = {"follow": follow, "timestamps": timestamps, "previous": previous, **_since(since)}
    if tail >= 0:
        query["tailLines"] = tail
    objects = naming.chosen_containers(client, names, namespace, labels, everywhere=everywhere)
    if len(objects) == 1 and not prefix:
        _copy(client, objects[0], query)
    else:
        _merge(client, objects, query)


def _since(text: str) -> dict[str, Any]:
    if not text:
        return {}
    if moment(text) is not None and "-" in text:
        return {"sinceTime": text}
    span = seconds(text)
    if span <= 0:
        raise wrong_use("--since needs a span above zero, such as 10m")
    return {"sinceSeconds": f"{span:g}" if span < 1e6 else f"{span:.0f}"}


def _copy(client: Client, obj: Object, query: dict[str, Any]) -> None:
    for chunk in _chunks(client, obj, query):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _chunks(client: Client, obj: Object, query: dict[str, Any]) -> Iterator[bytes]:
    meta = obj["metadata"]
    return client.logs(naming.container_type(), meta["namespace"], meta["name"], **query)


def _merge(client: Client, objects: list[Object], query: dict[str, Any]) -> None:
    """Whole lines of all of them, each under its name. One that cannot be read does not end the others."""
    lock = threading.Lock()
    problems: list[str] = []
    broken = threading.Event()

    def carry(obj: Object) -> None:
        head = f"[{obj['metadata']['name']}] ".encode()
        try:
            rest = b""
            for chunk in _chunks(client, obj, query):
                *whole, rest = (rest + chunk).split(b"\n")
                write(b"".join(head + line + b"\n" for line in whole))
            if rest:
                write(head + rest + b"\n")
        except StateError as exc:
            problems.extend(f"{obj['metadata']['name']}: {line}" for line in explain(exc)[0])
        except BrokenPipeError:
            broken.set()

    def write(text: bytes) -> None:
        with lock:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()

    if query["follow"]:
        threads = [threading.Thread(target=carry, args=(obj,), daemon=True) for obj in objects]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not broken.is_set():
            for thread in threads:
                thread.join(0.1)
    else:
        for obj in objects:
            carry(obj)
    if broken.is_set():
        raise BrokenPipeError
    if problems:
        raise Failed(*problems)
