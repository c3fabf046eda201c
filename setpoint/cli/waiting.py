"""``wait``, and what other verbs wait for: until a condition holds, ends at once when it never can any more."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.failures import OUT_OF_TIME, Failed, wrong_use
from setpoint.cli.following import Deadline, one
from setpoint.cli.options import AllNamespaces, Labels, Names, Namespace, connect, seconds
from setpoint.cli.printing import named, note, out
from state.clock import moment
from state.objects import Object
from state.resources.types import by_kind

if TYPE_CHECKING:
    from setpoint.client import Client


_PATIENCE_S = 1.0
"""How long a wait may take before a person is told what it is for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``done``: it holds. ``never``: why it cannot come true any more. Neither: look again after the next change."""

    done: bool = False
    never: str = ""
    found: str = ""
    """What was seen instead, for the message when time is up."""


Check = Callable[[Object | None], Verdict]
"""Judges an object; None: there is none (any more)."""


def register(app: typer.Typer) -> None:
    app.command("wait")(wait)


def wait(
    names: Names = None,
    for_: Annotated[
        str, typer.Option("--for", help="condition=TYPE[=STATUS], phase=PHASE, delete, create or jsonpath={PATH}[=VALUE].")
    ] = "condition=Ready",
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="SPAN", help="How long, such as 90s or 5m; 0 is for ever.")
    ] = "30s",
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Wait until a condition holds. Ends at once (exit 1) when it never can; exit 124 when the time is up."""
    deadline, check = Deadline.after(seconds(timeout)), check_of(for_)
    client = connect()
    targets = naming.targets(names or (), kinds_alone=bool(labels)) or (
        [naming.Target(naming.container_type())] if labels else []
    )
    if not targets:
        raise wrong_use("say what to wait for: KIND/NAME, NAME or -l SELECTOR")
    if for_ in ("create", "delete"):
        objects = [_sketch(client, target, namespace) for target in targets if target.name]
        objects += naming.select(client, [t for t in targets if not t.name], namespace, labels=labels, everywhere=everywhere)
    else:
        objects = naming.select(client, targets, namespace, labels=labels, everywhere=everywhere)
        if not objects:
            raise Failed(f"nothing matches {labels!r}")
    for obj in objects:
        until(client, obj, check, deadline, for_)
        out(f"{named(obj)} {'deleted' if for_ == 'delete' else 'condition met'}")


def _sketch(client: Client, target: naming.Target, namespace: str) -> Object:
    """The object if it is there, else only its name: one may wait for it to come, or find it gone already."""
    from state.errors import NotFound

    try:
        return {"kind": target.kind.kind, **naming.read(client, target, namespace)}
    except NotFound:
        scope = {"namespace": namespace or "default"} if target.kind.namespaced else {}
        return {"kind": target.kind.kind, "metadata": {"name": target.name, **scope}}


def until(client: Client, obj: Object, check: Check, deadline: Deadline, what: str) -> Object | None:
    """The object in the state that ``check`` wants. Raises Failed: never (1), or out of time (124). On a terminal it tells
    what it waits for, when that takes a while."""
    kind, meta = by_kind(obj["kind"]), obj["metadata"]
    assert kind is not None
    telling = _Telling(f"{named(obj)}: waiting for {what}")
    verdict = Verdict()
    with telling:
        for sight in one(client, kind, meta.get("namespace", ""), meta["name"], deadline):
            replaced = sight.obj is not None and meta.get("uid") and sight.obj["metadata"]["uid"] != meta["uid"]
            present = None if sight.gone or replaced else sight.obj
            verdict = check(present)
            if verdict.done:
                return present
            if verdict.never:
                raise Failed(f"{named(obj)}: {what} cannot come true any more: {verdict.never}")
            telling.see(verdict.found)
    raise Failed(f"{named(obj)}: out of time waiting for {what}; {verdict.found or 'nothing changed'}", code=OUT_OF_TIME)


class _Telling:
    """Says what is waited for and what is seen meanwhile: after a moment, on a terminal only, each thing once."""

    def __init__(self, what: str) -> None:
        self._what, self._seen, self._told = what, "", ""
        self._lock = threading.Lock()
        self._late = threading.Timer(_PATIENCE_S, self._tell)
        self._late.daemon = True
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> None:
        if self._shown:
            self._late.start()

    def __exit__(self, *_exc: object) -> None:
        self._late.cancel()

    def see(self, what: str) -> None:
        self._seen = what
        if self._shown and not self._late.is_alive():
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            if self._seen and self._seen != self._told:
                self._told = self._seen
                note(f"{self._what}; {self._seen}")


def gone(client: Client, obj: Object, deadline: Deadline) -> None:
    """Waits until the object is gone."""
    until(client, obj, lambda present: Verdict(done=present is None, found=_seen(present)), deadline, "its deletion")


def check_of(text: str) -> Check:
    """The judge for the words after ``--for``. Raises Failed."""
    word, _, rest = text.partition("=")
    if text == "delete":
        return lambda obj: Verdict(done=obj is None, found=_seen(obj))
    if text == "create":
        return lambda obj: Verdict(done=obj is not None, found="it is not there")
    if word == "condition" and rest:
        type_, _, status = rest.partition("=")
        return lambda obj: _condition(obj, type_, status or "True")
    if word == "phase" and rest:
        return lambda obj: _phase(obj, rest)
    if word == "jsonpath" and rest:
        path, _, value = rest.partition("}=") if "}=" in rest else (rest, "", "")
        return lambda obj: _path(obj, path.strip("{}'\""), value)
    raise wrong_use(f"--for {text!r} is not understood: condition=Ready, phase=Running, delete, create or jsonpath={{.a.b}}=x")


def settled(obj: Object | None) -> Verdict:
    """Whether a container is as declared: Ready, stopped, paused, or run to its end with 0."""
    if obj is None:
        return Verdict(never="it was deleted")
    state = (obj.get("spec") or {}).get("runState", "Running")
    status = obj.get("status") or {}
    phase = status.get("phase", "")
    if obj["kind"] != "Container":
        return Verdict(done=True)
    if not _observed(obj):
        return Verdict(found="the agent has not looked at it yet")
    if state == "Stopped":
        return Verdict(done=phase in ("Created", "Exited"), found=_seen(obj))
    if state == "Paused":
        return Verdict(done=phase == "Paused", found=_seen(obj))
    if ended(obj) and phase == "Exited" and status.get("exitCode") == 0:
        return Verdict(done=True)
    return _condition(obj, "Ready", "True")


def _condition(obj: Object | None, type_: str, wanted: str) -> Verdict:
    if obj is None:
        return Verdict(never="it was deleted")
    conditions: list[Object] = (obj.get("status") or {}).get("conditions") or []
    found = next((c for c in conditions if c.get("type", "").lower() == type_.lower()), None)
    if found is not None and found.get("status", "").lower() == wanted.lower() and _observed(obj):
        return Verdict(done=True)
    never = ended(obj) if type_.lower() == "ready" and wanted.lower() == "true" else ""
    return Verdict(never=never, found=_seen(obj))


def _phase(obj: Object | None, wanted: str) -> Verdict:
    if obj is None:
        return Verdict(never="it was deleted")
    phase = (obj.get("status") or {}).get("phase", "")
    if phase.lower() == wanted.lower() and _observed(obj):
        return Verdict(done=True)
    never = ended(obj) if wanted.lower() in ("running", "restarting", "pending") else ""
    return Verdict(never=never, found=_seen(obj))


def _path(obj: Object | None, path: str, wanted: str) -> Verdict:
    from setpoint.cli.jsonpath import find

    if obj is None:
        return Verdict(never="it was deleted")
    values: list[Any] = find(obj, path)
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    done = wanted in texts if wanted else bool([t for t in texts if t])
    return Verdict(done=done, found=f"{path} is {', '.join(texts) or 'not there'}")


def ended(obj: Object) -> str:
    """Why a container does not run again unless somebody changes something; empty when it may."""
    status = obj.get("status") or {}
    if obj["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    if obj.get("kind") != "Container" or not _observed(obj) or status.get("phase") not in ("Exited", "Created"):
        return ""
    ready: Object = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    match ready.get("reason"):
        case "Completed":
            last = status.get("lastExit") or status
            return f"it has run to its end ({_exit(last)}) and its restart policy does not run it again"
        case "Quarantined":
            return f"it is quarantined ({ready.get('message')}); setpoint retry releases it"
        case "Stopped":
            return "it is declared Stopped; setpoint start runs it"
    return ""


def _exit(last: Object) -> str:
    code = last.get("exitCode")
    return f"exit code {code}" if code is not None else str(last.get("reason") or "unknown exit")


def _observed(obj: Object) -> bool:
    """Whether the status tells of what is declared now: the spec by its generation, a restart or retry by its time."""
    status, meta = obj.get("status") or {}, obj["metadata"]
    if obj.get("kind") == "Container" and status.get("observedGeneration") != meta.get("generation"):
        return False
    if status.get("phase") != "Exited":
        return True
    ended = moment((status.get("lastExit") or {}).get("finishedAt") or status.get("finishedAt"))
    notes = meta.get("annotations") or {}
    asked = [moment(notes.get(f"setpoint.dev/{name}")) for name in ("restartedAt", "retriedAt")]
    return ended is None or not any(at is not None and at > ended for at in asked)


def _seen(obj: Object | None) -> str:
    """What it is doing, in a few words."""
    if obj is None:
        return "it is not there"
    status = obj.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    for type_ in ("Waiting", "ReconcileFailed", "Quarantined", "Ready"):
        found = conditions.get(type_)
        if found and (type_ != "Ready" or found.get("status") != "True"):
            return f"{status.get('phase', 'Pending')}, {found.get('reason')}: {found.get('message') or type_}"
    phase = status.get("phase")
    return f"it is {phase}" if phase else "the agent has not looked at it yet"
