"""logs: what containers printed, of one or of several at once."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.failures import FAILED, Failed, explain, wrong_use
from setpoint.cli.following import Deadline, one
from setpoint.cli.options import AllNamespaces, Labels, Names, Namespace, connect, seconds
from setpoint.cli.waiting import ended
from state.clock import moment
from state.errors import StateError
from state.objects import Object

if TYPE_CHECKING:
    from setpoint.client import Client


_QUIET_S = 0.5
"""The pump writes within milliseconds, and a follower looks for more several times a second."""
_LOOK_S = 0.05


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
    printer = _Printer(client, query, prefix=prefix or len(objects) > 1)
    if follow:
        followed = [_Followed(client, printer, obj) for obj in objects]
        while not all(each.over for each in followed) and not printer.broken.is_set():
            time.sleep(_LOOK_S)
    else:
        for obj in objects:
            printer.carry(obj)
    if printer.broken.is_set():
        raise BrokenPipeError
    if printer.problems:
        raise Failed(*printer.problems, code=printer.code)


def _since(text: str) -> dict[str, Any]:
    if not text:
        return {}
    if moment(text) is not None and "-" in text:
        return {"sinceTime": text}
    span = seconds(text)
    if span <= 0:
        raise wrong_use("--since needs a span above zero, such as 10m")
    return {"sinceSeconds": f"{span:g}" if span < 1e6 else f"{span:.0f}"}


def _chunks(client: Client, obj: Object, query: dict[str, Any]) -> Iterator[bytes]:
    meta = obj["metadata"]
    return client.logs(naming.container_type(), meta["namespace"], meta["name"], **query)


class _Printer:
    """Prints the logs of several containers: whole lines under their names, or one alone as it is. One that cannot be read
    does not end the others."""

    def __init__(self, client: Client, query: dict[str, Any], *, prefix: bool) -> None:
        self._client, self._query, self._prefix = client, query, prefix
        self._lock = threading.Lock()
        self.broken = threading.Event()
        self.problems: list[str] = []
        self.code = FAILED

    def carry(self, obj: Object, heard: Callable[[], None] = lambda: None) -> None:
        """One log, to its end. ``heard``: called for every piece."""
        name = obj["metadata"]["name"]
        head, rest = f"[{name}] ".encode(), b""
        try:
            for chunk in _chunks(self._client, obj, self._query):
                heard()
                if self._prefix:
                    *whole, rest = (rest + chunk).split(b"\n")
                    chunk = b"".join(head + line + b"\n" for line in whole)
                self._write(chunk)
            if rest:
                self._write(head + rest + b"\n")
        except StateError as exc:
            self.problems += [f"{name}: {line}" if self._prefix else line for line in explain(exc)[0]]
            self.code = explain(exc)[1]
        except BrokenPipeError:
            self.broken.set()

    def _write(self, text: bytes) -> None:
        with self._lock:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()


class _Followed:
    """One log that is followed until its container has ended for good and nothing more comes."""

    def __init__(self, client: Client, printer: _Printer, obj: Object) -> None:
        self._client, self._obj = client, obj
        self._last, self._ended = time.monotonic(), threading.Event()
        self._reading = threading.Thread(target=printer.carry, args=(obj, self._heard), daemon=True)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._reading.start()
        self._watching.start()

    @property
    def over(self) -> bool:
        """The log goes on into later starts and so never ends by itself; ours ends where no later start is to come."""
        quiet = time.monotonic() - self._last > _QUIET_S
        return not self._reading.is_alive() or (self._ended.is_set() and quiet)

    def _heard(self) -> None:
        self._last = time.monotonic()

    def _watch(self) -> None:
        meta = self._obj["metadata"]
        with contextlib.suppress(StateError):
            for sight in one(self._client, naming.container_type(), meta["namespace"], meta["name"], Deadline()):
                if sight.obj is None or sight.gone:
                    return  # the log of what is gone ends by itself
                if ended({**sight.obj, "kind": "Container"}) and not sight.obj["metadata"].get("deletionTimestamp"):
                    self._heard()
                    self._ended.set()
                else:
                    self._ended.clear()
