"""get, describe, why, events: what is there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.failures import Failed, wrong_use
from setpoint.cli.following import changes
from setpoint.cli.options import AllNamespaces, Fields, Labels, Names, Namespace, Output, connect
from setpoint.cli.printing import Table, age, json_text, named, note, out, yaml_text
from setpoint.cli.secrets import record_reveal, redacted
from state.errors import NotFound
from state.objects import Object
from state.resources.types import ResourceType, by_kind

if TYPE_CHECKING:
    from setpoint.client import Client


def register(app: typer.Typer) -> None:
    app.command("get")(get)
    app.command("describe")(describe)
    app.command("why")(why)
    app.command("events")(events)


def get(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND [NAME…]", help="KIND, KIND NAME, KIND/NAME, NAME of a container, or all."),
    ] = None,
    output: Output = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    labels: Labels = "",
    fields: Fields = "",
    sort_by: Annotated[str, typer.Option("--sort-by", metavar="JSONPATH", help="Such as .status.startedAt.")] = "",
    show_labels: Annotated[bool, typer.Option("--show-labels", help="Labels as the last column.")] = False,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on and show every change.")] = False,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="No head of the table.")] = False,
    managed: Annotated[bool, typer.Option("--show-managed-fields", help="metadata.managedFields too.")] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Values of Secrets; leaves an Event that says who looked.")] = False,
    missing_ok: Annotated[bool, typer.Option("--ignore-not-found", help="What is not there is no error.")] = False,
) -> None:
    """List objects, or show some; without a kind, Containers."""
    form = _Form(output, managed=managed, reveal=reveal, show_labels=show_labels, head=not no_headers, everywhere=everywhere)
    targets = naming.targets(names or (), kinds_alone=True) or [naming.Target(naming.container_type())]
    client = connect()
    lists = _lists(client, targets, namespace, labels, fields, everywhere, missing_ok)
    objects = [obj for _, found, _ in lists for obj in found]
    if sort_by:
        lists = [(kind, _sorted(found, sort_by), since) for kind, found, since in lists]
        objects = _sorted(objects, sort_by)
    form.prepare(client, objects)
    single = len(targets) == 1 and bool(targets[0].name)
    if form.structured and not watch:
        form.document(objects, single=single)
        return
    tables = _show_lists(form, lists, quiet=watch, where="" if everywhere else namespace or "default")
    if watch:
        if len(lists) != 1:
            raise wrong_use("watch one kind at a time")
        _watch(client, form, lists[0], tables, _Watched(namespace, labels, fields, everywhere, targets))


_List = tuple[ResourceType, list[Object], str]
"""A kind, what was found, and the revision of the list."""


def _lists(
    client: Client,
    targets: Sequence[naming.Target],
    namespace: str,
    labels: str,
    fields: str,
    everywhere: bool,
    missing_ok: bool,
) -> list[_List]:
    found: dict[str, _List] = {}
    if (labels or fields) and any(target.name for target in targets):
        raise wrong_use("give names or a selector, not both")
    missing = []
    for target in targets:
        _, objects, since = found.setdefault(target.kind.kind, (target.kind, [], ""))
        try:
            if target.name:
                fresh = [naming.read(client, target, namespace)]
            else:
                listing = client.list(target.kind, "" if everywhere else namespace or "default", labels=labels, fields=fields)
                fresh, since = listing["items"], listing["metadata"]["resourceVersion"]
        except NotFound as exc:
            if not missing_ok:
                missing.append(exc.message)
            continue
        objects += [{"apiVersion": target.kind.api_version, "kind": target.kind.kind, **obj} for obj in fresh]
        found[target.kind.kind] = (target.kind, objects, since)
    if missing:
        raise Failed(*missing)
    return list(found.values())


def _sorted(objects: list[Object], path: str) -> list[Object]:
    from setpoint.cli.jsonpath import find

    path = path.strip("{}")

    def key(obj: Object) -> tuple[int, float, str]:
        values = find(obj, path)
        value = values[0] if values else None
        if isinstance(value, (int, float)):
            return 1, float(value), ""
        return (0, 0.0, "") if value is None else (2, 0.0, str(value))

    return sorted(objects, key=key)


class _Form:
    """How objects are shown."""

    def __init__(self, output: str, *, managed: bool, reveal: bool, show_labels: bool, head: bool, everywhere: bool) -> None:
        self.name, _, self.template = output.partition("=")
        if self.name not in ("", "json", "yaml", "name", "wide", "jsonpath") or (self.name == "jsonpath") != bool(
            self.template
        ):
            raise wrong_use(f"-o {output!r}: give json, yaml, name, wide or jsonpath={{.status.phase}}")
        self._managed, self._reveal = managed, reveal
        self._show_labels, self.head, self._everywhere = show_labels, head, everywhere
        self.structured = self.name in ("json", "yaml", "jsonpath")

    def prepare(self, client: Client, objects: Sequence[Object]) -> None:
        """Records that Secrets are about to be revealed."""
        if self._reveal:
            for obj in objects:
                if obj["kind"] == "Secret" and obj.get("data"):
                    record_reveal(client, obj)

    def shown(self, obj: Object) -> Object:
        if not self._managed:
            obj = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
        return obj if self._reveal else redacted(obj)

    def document(self, objects: Sequence[Object], *, single: bool) -> None:
        shown = [self.shown(obj) for obj in objects]
        if single and not shown:
            return
        whole: Any = shown[0] if single else {"apiVersion": "v1", "kind": "List", "items": shown}
        if self.name == "jsonpath":
            from setpoint.cli.jsonpath import render

            text = render(self.template, whole)
            sys.stdout.write(text + ("\n" if sys.stdout.isatty() and not text.endswith("\n") else ""))
        else:
            sys.stdout.write(json_text(whole) if self.name == "json" else yaml_text(whole))
        sys.stdout.flush()

    def table(self, kind: ResourceType) -> Table:
        head = [column.name for column in self._columns(kind)]
        names = ["Namespace"] * (self._everywhere and kind.namespaced) + ["Name"]
        age_too = [] if kind.kind == "Event" else ["Age"]
        return Table([*names, *head, *age_too, *(["Labels"] * self._show_labels)])

    def row(self, kind: ResourceType, obj: Object, *, long: bool) -> list[Any]:
        meta = obj["metadata"]
        name = f"{kind.singular}/{meta['name']}" if long else meta["name"]
        row: list[Any] = [meta.get("namespace")] if self._everywhere and kind.namespaced else []
        row += [name, *(_cell(obj, column.path, column.type) for column in self._columns(kind))]
        if kind.kind != "Event":
            row.append(age(meta.get("creationTimestamp")))
        if self._show_labels:
            row.append(",".join(f"{k}={v}" for k, v in (meta.get("labels") or {}).items()))
        return row

    def _columns(self, kind: ResourceType) -> list[Any]:
        return [column for column in kind.columns if column.priority == 0 or self.name == "wide"]


def _cell(obj: Object, path: str, type_: str) -> Any:
    from setpoint.cli.jsonpath import find

    values = find(obj, path)
    value = values[0] if values else None
    if type_ == "date":
        return age(value)
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value


def _show_lists(form: _Form, lists: Sequence[_List], *, quiet: bool, where: str) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    shown = 0
    for kind, objects, _ in lists:
        if form.name == "name":
            for obj in objects:
                out(f"{kind.singular}/{obj['metadata']['name']}")
            shown += len(objects)
            continue
        table = tables[kind.kind] = form.table(kind)
        if not objects:
            continue
        if shown and len(lists) > 1:
            out()
        table.show([form.row(kind, obj, long=len(lists) > 1) for obj in objects], head=form.head)
        shown += len(objects)
    if not shown and not quiet and not form.structured:
        what = lists[0][0].plural if len(lists) == 1 else "objects"
        namespaced = any(kind.namespaced for kind, _, _ in lists)
        note(f"no {what} found{f' in namespace {where}' if where and namespaced else ''}")
    return tables


class _Watched:
    """What of one kind is watched."""

    def __init__(self, namespace: str, labels: str, fields: str, everywhere: bool, targets: Sequence[naming.Target]) -> None:
        self.namespace = "" if everywhere else namespace or "default"
        self.labels, self.fields = labels, fields
        self._names = {target.name for target in targets if target.name}

    def has(self, obj: Object) -> bool:
        return not self._names or obj["metadata"]["name"] in self._names


def _watch(client: Client, form: _Form, listed: _List, tables: dict[str, Table], watched: _Watched) -> None:
    kind, objects, since = listed
    if form.structured:
        for obj in objects:
            form.document([obj], single=True)
    seen = {obj["metadata"]["uid"]: obj["metadata"]["resourceVersion"] for obj in objects}
    for type_, obj in changes(client, kind, watched.namespace, labels=watched.labels, fields=watched.fields, since=since):
        meta = obj["metadata"]
        if not watched.has(obj) or (type_ == "ADDED" and seen.get(meta["uid"]) == meta["resourceVersion"]):
            continue
        seen[meta["uid"]] = meta["resourceVersion"]
        full = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        if form.structured:
            form.document([full], single=True)
        elif form.name == "name":
            out(f"{kind.singular}/{meta['name']}")
            sys.stdout.flush()
        else:
            tables[kind.kind].show([form.row(kind, full, long=False)], head=form.head)


def describe(names: Names = None, namespace: Namespace = "", labels: Labels = "", everywhere: AllNamespaces = False) -> None:
    """Show everything about objects, and what happened to them."""
    from setpoint.cli.describing import description

    client = connect()
    targets = naming.targets(names or (), kinds_alone=True) or ([naming.Target(naming.container_type())] if labels else [])
    if not targets:
        raise wrong_use("say what to describe: KIND NAME, KIND/NAME or NAME")
    objects = naming.select(client, targets, namespace, labels=labels, everywhere=everywhere)
    for number, obj in enumerate(objects):
        sys.stdout.write(("\n\n" if number else "") + description(redacted(obj), _events_of(client, obj)))
    if not objects:
        note("nothing found")


def why(
    names: Names = None,
    namespace: Namespace = "",
    output: Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")] = "",
) -> None:
    """Tell on one screen why a container is as it is, and what comes next."""
    from setpoint.cli.describing import reasons
    from setpoint.client import object_path

    client = connect()
    kind = naming.container_type()
    documents = []
    for obj in naming.chosen_containers(client, names, namespace, ""):
        meta = obj["metadata"]
        documents.append(client.request("GET", object_path(kind, meta["namespace"], meta["name"], "why")))
    if output:
        whole: Any = documents[0] if len(documents) == 1 else documents
        sys.stdout.write(json_text(whole) if output == "json" else yaml_text(whole))
        return
    sys.stdout.write("\n\n".join(reasons(document) for document in documents))


def _events_of(client: Client, obj: Object) -> list[Object]:
    kind = by_kind("Event")
    assert kind is not None
    found: list[Object] = client.list(kind, fields=f"involvedObject.uid={obj['metadata'].get('uid', '')}")["items"]
    return sorted(found, key=_last_seen)


def _last_seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("firstTimestamp") or event["metadata"].get("creationTimestamp") or "")


def events(
    for_: Annotated[str, typer.Option("--for", metavar="KIND/NAME", help="Only what happened to this object.")] = "",
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on and show what happens.")] = False,
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")] = "",
) -> None:
    """Show what happened, the latest last."""
    kind = by_kind("Event")
    assert kind is not None
    client = connect()
    fields, where = "", "" if everywhere else namespace or "default"
    if for_:
        (target,) = naming.targets([for_], kinds_alone=False)
        fields = f"involvedObject.kind={target.kind.kind},involvedObject.name={target.name}"
        where = where if target.kind.namespaced else ""
    listing = client.list(kind, where, fields=fields)
    found = sorted(listing["items"], key=_last_seen)
    if output:
        document = {"apiVersion": "v1", "kind": "List", "items": found}
        sys.stdout.write(json_text(document) if output == "json" else yaml_text(document))
        return
    table = Table([*(["Namespace"] * everywhere), "Last seen", "Type", "Reason", "Object", "Message"])
    if found:
        table.show([_event_row(event, everywhere) for event in found])
    elif not watch:
        note("no events found")
    if watch:
        since = listing["metadata"]["resourceVersion"]
        for type_, event in changes(client, kind, where, labels="", fields=fields, since=since):
            if type_ != "DELETED":
                table.show([_event_row(event, everywhere)])


def _event_row(event: Object, everywhere: bool) -> list[Any]:
    about = event.get("involvedObject") or {}
    count = event.get("count") or 1
    message = f"{event.get('message', '')}{f' (x{count})' if count > 1 else ''}"
    who = named({"kind": about.get("kind", ""), "metadata": {"name": about.get("name", "")}})
    row = [age(_last_seen(event)), event.get("type"), event.get("reason"), who, message]
    return [event["metadata"].get("namespace"), *row] if everywhere else row
