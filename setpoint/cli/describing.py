"""The long forms: describe's page of one object, why's page of one container. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from setpoint.cli.printing import age, safe, span, yaml_text
from state.clock import moment
from state.objects import Object

_WIDTH = 22
_HIDDEN = frozenset({"name", "namespace", "labels", "annotations", "managedFields", "creationTimestamp"})


def description(obj: Object, events: Sequence[Object]) -> str:
    """One object, kubectl's order: metadata, spec, status, conditions, events."""
    return "".join(line + "\n" for line in _lines(obj, events))


def _lines(obj: Object, events: Sequence[Object]) -> Iterator[str]:
    meta = obj["metadata"]
    yield _pair("Name", meta["name"])
    if meta.get("namespace"):
        yield _pair("Namespace", meta["namespace"])
    yield _pair("Kind", f"{obj.get('kind')} ({obj.get('apiVersion')})")
    yield from _map("Labels", meta.get("labels"))
    yield from _map("Annotations", meta.get("annotations"))
    made = meta.get("creationTimestamp")
    yield _pair("Created", f"{made} ({age(made)} ago)")
    if meta.get("deletionTimestamp"):
        yield _pair("Deleting since", f"{meta['deletionTimestamp']} ({age(meta['deletionTimestamp'])} ago)")
    yield from _nested("Metadata", {k: v for k, v in meta.items() if k not in _HIDDEN and k != "deletionTimestamp"})
    for name, value in obj.items():
        if name not in ("apiVersion", "kind", "metadata", "status", "spec"):
            yield from _nested(name.capitalize(), value)
    yield from _nested("Spec", obj.get("spec"))
    status = obj.get("status") or {}
    yield from _nested("Status", {k: v for k, v in status.items() if k != "conditions"})
    yield from _conditions(status.get("conditions") or ())
    yield from _events(events)


def _pair(name: str, value: Any) -> str:
    return f"{name + ':':<{_WIDTH}}{safe(str(value))}"


def _map(name: str, pairs: Object | None) -> Iterator[str]:
    if not pairs:
        yield _pair(name, "<none>")
    for number, (key, value) in enumerate((pairs or {}).items()):
        yield f"{name + ':' if number == 0 else '':<{_WIDTH}}{safe(f'{key}={value}')}"


def _nested(name: str, value: Any) -> Iterator[str]:
    if value in (None, {}, []):
        return
    if not isinstance(value, (dict, list)):
        yield _pair(name, value)
        return
    yield f"{name}:"
    for line in yaml_text(value).splitlines():
        yield "  " + safe(line)


def _conditions(conditions: Sequence[Object]) -> Iterator[str]:
    if not conditions:
        return
    yield "Conditions:"
    rows = [
        [c.get("type", ""), c.get("status", ""), age(c.get("lastTransitionTime")), c.get("reason", ""), c.get("message", "")]
        for c in conditions
    ]
    yield from _grid(["Type", "Status", "Since", "Reason", "Message"], rows)


def _events(events: Sequence[Object]) -> Iterator[str]:
    if not events:
        yield _pair("Events", "<none>")
        return
    yield "Events:"
    rows = []
    for event in events:
        count = event.get("count") or 1
        when = age(event.get("lastTimestamp"))
        if count > 1:
            when += f" (x{count} over {age(event.get('firstTimestamp'))})"
        rows.append([when, event.get("type", ""), event.get("reason", ""), event.get("message", "")])
    yield from _grid(["Age", "Type", "Reason", "Message"], rows)


def _grid(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    texts = [[safe(str(value if value not in (None, "") else "-")).replace("\n", " ") for value in row] for row in rows]
    shown = [list(head), ["-" * len(word) for word in head], *texts]
    widths = [max(len(row[n]) for row in shown) for n in range(len(head))]
    for row in shown:
        yield "  " + "   ".join(f"{text:<{widths[n]}}" for n, text in enumerate(row)).rstrip()


def reasons(document: Object) -> str:
    """The page of ``why``: declared and seen, waiting for what, who changed what, last exits, what comes next."""
    return "".join(line + "\n" for line in _reasons(document))


def _reasons(doc: Object) -> Iterator[str]:
    status, declared = doc.get("status") or {}, doc.get("declared") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    where = doc.get("namespace", "default")
    yield f"{doc.get('name')}{'' if where == 'default' else f' in {where}'} is {status.get('phase', 'not looked at yet')}"
    yield ""
    yield _pair(
        "Declared", f"{declared.get('runState')}, restart policy {declared.get('restartPolicy')}, {declared.get('image')}"
    )
    yield from _seen(doc.get("seen") or [])
    yield from _told(conditions)
    yield from _exits(doc.get("exits") or [], status)
    yield from _next(doc, status)
    yield from _writers(doc.get("writers") or [])
    recent = sorted(doc.get("events") or [], key=lambda e: str(e.get("lastTimestamp") or ""))[-8:]
    if recent:
        yield from _events(recent)


def _seen(seen: Sequence[Object]) -> Iterator[str]:
    if not seen:
        yield _pair("Seen", "nothing of it on this node")
    for number, each in enumerate(seen):
        pid = f", pid {each['pid']}" if each.get("pid") else ""
        text = f"revision {each.get('revision')}: task {each.get('task')}{pid} ({each.get('id')})"
        yield _pair("Seen", text) if not number else " " * _WIDTH + safe(text)


def _told(conditions: dict[Any, Object]) -> Iterator[str]:
    for type_, condition in conditions.items():
        if type_ == "Ready" and condition.get("status") == "True":
            continue
        message = f": {condition['message']}" if condition.get("message") else ""
        since = age(condition.get("lastTransitionTime"))
        yield _pair(str(type_), f"{condition.get('status')} since {since}, {condition.get('reason')}{message}")


def _exits(exits: Sequence[Object], status: Object) -> Iterator[str]:
    if status.get("restartCount"):
        yield _pair("Restarts", status["restartCount"])
    for number, each in enumerate(exits[:5]):
        code = each.get("exitCode")
        parts = [str(each.get("reason", "")), f"exit code {code}" if code is not None else "exit code unknown"]
        if each.get("signal"):
            parts.append(f"signal {each['signal']}")
        if each.get("requested"):
            parts.append("asked for")
        begin, end = moment(each.get("startedAt")), moment(each.get("finishedAt"))
        ran = f", ran {span((end - begin).total_seconds())}" if begin and end else ""
        more = f": {each['message']}" if each.get("message") else ""
        text = f"{age(each.get('finishedAt'))} ago, {', '.join(filter(None, parts))}{ran}{more}"
        yield _pair("Last exits", text) if not number else " " * _WIDTH + safe(text)


def _next(doc: Object, status: Object) -> Iterator[str]:
    loop, steps = doc.get("loop") or {}, [str(step.get("text", "")) for step in doc.get("next") or ()]
    start = moment(status.get("nextStartAt"))
    if start is not None and status.get("phase") != "Running":
        wait = (start - datetime.now(UTC)).total_seconds()
        yield _pair("Next start", f"in {span(wait)}" if wait > 0 else "now")
    for number, step in enumerate(steps):
        yield _pair("Next", step) if not number else " " * _WIDTH + safe(step)
    if not steps:
        yield _pair("Next", "nothing to do")
    look = loop.get("nextLookInSeconds")
    parts = [str(loop.get("state", "")), f"looks again in {span(look)}" if look is not None else ""]
    if loop.get("failures"):
        parts.append(f"failed {loop['failures']} times: {loop.get('error')}")
    if any(parts):
        yield _pair("Loop", ", ".join(filter(None, parts)))


def _writers(writers: Sequence[Object]) -> Iterator[str]:
    for number, each in enumerate(writers):
        what = "status" if each.get("subresource") == "status" else "the object"
        text = f"{each.get('manager')} wrote {what} {age(each.get('time'))} ago ({each.get('operation')})"
        yield _pair("Writers", text) if not number else " " * _WIDTH + safe(text)
