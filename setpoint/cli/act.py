"""start, stop, restart, pause, resume, kill, hold, unhold, retry: said to containers by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from setpoint.cli import naming, waiting
from setpoint.cli.failures import FAILED, Failed, explain
from setpoint.cli.following import Deadline
from setpoint.cli.options import AllNamespaces, Labels, Names, Namespace, connect, seconds
from setpoint.cli.printing import named, note, out
from state.clock import rfc3339, rfc3339_micro
from state.errors import Conflict, StateError
from state.objects import GROUP, Object

if TYPE_CHECKING:
    from setpoint.client import Client
    from state.runstate import RunState

RESTARTED_AT, RETRIED_AT, HOLD, STOP_OPTIONS = (
    f"{GROUP}/{name}" for name in ("restartedAt", "retriedAt", "hold", "stop-options")
)
_TRIES = 8

NoWait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is so.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="SPAN", help="How long to wait; 0 is for ever.")]


def register(app: typer.Typer) -> None:
    for name, verb in (
        ("start", start), ("stop", stop), ("restart", restart), ("pause", pause), ("resume", resume), ("kill", kill),
        ("hold", hold), ("unhold", unhold), ("retry", retry),
    ):  # fmt: skip
        app.command(name)(verb)


def start(
    names: Names = None,
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    wait: NoWait = False,
    timeout: Timeout = "30s",
) -> None:
    """Declare containers Running, and run again those that have ended. Returns when it is stored, unless told to wait."""

    def act(client: Client, obj: Object) -> None:
        state, phase = _state(obj), (obj.get("status") or {}).get("phase")
        if state == "Running" and phase in ("Exited", "Restarting", "Created"):
            _annotate(client, obj, "setpoint-restart", {RESTARTED_AT: _now()})
        else:
            declare(client, obj, "Running")
        if wait:
            waiting.until(client, obj, waiting.check_of("phase=Running"), Deadline.after(seconds(timeout)), "its start")

    _each(names, labels, namespace, everywhere, "started", act)


def stop(
    names: Names = None,
    grace: Annotated[
        int | None, typer.Option("-t", "--time", "--timeout", help="Seconds between stop signal and SIGKILL; -1 is for ever.")
    ] = None,
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    wait: NoWait = True,
) -> None:
    """Declare containers Stopped and wait until they are. They stay so over restarts and reboots."""
    notes = {STOP_OPTIONS: json.dumps({"gracePeriodSeconds": grace})} if grace is not None else None

    def act(client: Client, obj: Object) -> None:
        declare(client, obj, "Stopped", notes)
        if wait:
            check = waiting.check_of("phase=Exited")
            stopped = lambda seen: waiting.Verdict(done=True) if waiting.settled(seen).done else check(seen)  # noqa: E731
            waiting.until(client, obj, stopped, Deadline(), "its end")

    _each(names, labels, namespace, everywhere, "stopped", act)


def restart(
    names: Names = None,
    pull: Annotated[bool, typer.Option("--pull", help="Fetch the image anew first.")] = False,
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Stop and start containers; their writable layers stay. One that was declared Stopped runs again."""
    if pull:
        from setpoint.cli.failures import not_yet

        not_yet("restart --pull")

    def act(client: Client, obj: Object) -> None:
        _annotate(client, obj, "setpoint-restart", {RESTARTED_AT: _now()})
        if _state(obj) != "Running":
            declare(client, _again(client, obj), "Running")

    _each(names, labels, namespace, everywhere, "restarted", act)


def pause(names: Names = None, labels: Labels = "", namespace: Namespace = "", everywhere: AllNamespaces = False) -> None:
    """Freeze all processes of containers, and keep them so."""
    _each(names, labels, namespace, everywhere, "paused", lambda client, obj: declare(client, obj, "Paused"))


def resume(names: Names = None, labels: Labels = "", namespace: Namespace = "", everywhere: AllNamespaces = False) -> None:
    """Let paused containers go on."""

    def act(client: Client, obj: Object) -> None:
        if _state(obj) == "Stopped":
            raise Conflict(f"{named(obj)} is declared Stopped, not Paused: setpoint start runs it")
        declare(client, obj, "Running")

    _each(names, labels, namespace, everywhere, "resumed", act)


def kill(
    names: Names = None,
    signal: Annotated[str, typer.Option("-s", "--signal", help="Name or number.")] = "SIGKILL",
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Send a signal to the first process. What is declared stays: its restart policy may run it again."""
    from setpoint.client import object_path

    def act(client: Client, obj: Object) -> None:
        meta = obj["metadata"]
        path = object_path(naming.container_type(), meta["namespace"], meta["name"], "kill")
        client.request("POST", path, body={"signal": signal})

    _each(names, labels, namespace, everywhere, "killed" if signal.upper() in ("SIGKILL", "KILL", "9") else "signalled", act)


def hold(
    names: Names = None,
    for_: Annotated[str, typer.Option("--for", metavar="SPAN", help="Only so long, such as 2h. Default: until unhold.")] = "",
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Let the loop look at containers and touch nothing of them."""
    until = rfc3339(datetime.now(UTC) + timedelta(seconds=seconds(for_))) if for_ else "true"
    _each(
        names, labels, namespace, everywhere, "held",
        lambda client, obj: _annotate(client, obj, "setpoint-hold", {HOLD: until}),
    )  # fmt: skip


def unhold(names: Names = None, labels: Labels = "", namespace: Namespace = "", everywhere: AllNamespaces = False) -> None:
    """Let the loop act again."""
    _each(
        names, labels, namespace, everywhere, "released",
        lambda client, obj: _annotate(client, obj, "setpoint-hold", {HOLD: None}),
    )  # fmt: skip


def retry(names: Names = None, labels: Labels = "", namespace: Namespace = "", everywhere: AllNamespaces = False) -> None:
    """Release containers from quarantine, and end a wait between restarts."""
    _each(
        names, labels, namespace, everywhere, "retried",
        lambda client, obj: _annotate(client, obj, "setpoint-restart", {RETRIED_AT: _now()}),
    )  # fmt: skip


def declare(client: Client, obj: Object, want: RunState, notes: Mapping[str, str] | None = None) -> None:
    """Writes or releases ``spec.runState`` under the manager of these verbs. Raises Conflict after many tries."""
    from state.runstate import MANAGER, request

    for attempt in range(_TRIES):
        asked = request(obj, want, annotations=notes)
        try:
            client.apply([asked.object], manager=MANAGER, force=asked.force)
        except Conflict:
            if attempt == _TRIES - 1:
                raise
            obj = _again(client, obj)
        else:
            return


def _again(client: Client, obj: Object) -> Object:
    kind, meta = naming.container_type(), obj["metadata"]
    fresh = client.get(kind, meta["namespace"], meta["name"])
    if fresh["metadata"]["uid"] != meta["uid"]:
        raise Conflict(f"{named(obj)} was deleted and made anew meanwhile")
    return {"apiVersion": kind.api_version, "kind": kind.kind, **fresh}


def _annotate(client: Client, obj: Object, manager: str, notes: Mapping[str, str | None]) -> None:
    meta = obj["metadata"]
    patch = {"metadata": {"uid": meta["uid"], "annotations": dict(notes)}}
    client.patch(naming.container_type(), meta["namespace"], meta["name"], patch, manager=manager)


def _state(obj: Object) -> str:
    return str((obj.get("spec") or {}).get("runState") or "Running")


def _now() -> str:
    return rfc3339_micro(datetime.now(UTC))


def _each(
    names: list[str] | None,
    labels: str,
    namespace: str,
    everywhere: bool,
    done: str,
    act: Callable[[Client, Object], None],
) -> None:
    """Acts on every chosen container; one that refuses does not keep the others."""
    client = connect()
    problems: list[str] = []
    worst = FAILED
    for obj in naming.chosen_containers(client, names, namespace, labels, everywhere=everywhere):
        try:
            act(client, obj)
        except Failed as exc:
            problems += exc.lines
            worst = max(worst, exc.code)
        except StateError as exc:
            lines, code = explain(exc)
            problems += lines
            worst = max(worst, code)
        else:
            held = (obj["metadata"].get("annotations") or {}).get(HOLD, "false")
            out(f"{named(obj)} {done}")
            if held not in ("", "false") and done not in ("held", "released", "killed", "signalled"):
                note(f"{named(obj)} is held ({held}): nothing happens before setpoint unhold")
            sys.stdout.flush()
    if problems:
        raise Failed(*problems, code=worst)
