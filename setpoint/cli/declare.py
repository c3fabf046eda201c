"""apply, plan, diff, delete: what should be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from setpoint.cli import files, naming, waiting
from setpoint.cli.failures import FAILED, Failed, explain, wrong_use
from setpoint.cli.following import Deadline
from setpoint.cli.options import AllNamespaces, Files, Labels, Names, Namespace, Output, Recursive, connect, seconds
from setpoint.cli.printing import json_text, named, note, out, paint, yaml_text
from state.errors import NotFound, StateError
from state.objects import Object
from state.resources.types import ResourceType, by_alias, by_kind

if TYPE_CHECKING:
    from setpoint.client import Client

TAKEN = tuple(
    f"setpoint-{verb}"
    for verb in ("run-state", "restart", "hold", "set", "edit", "label", "annotate", "patch", "scale", "run", "create", "adopt")
)
"""Field managers of the human verbs: a file takes their fields over, and says so."""
PLANNED = 10


def register(app: typer.Typer) -> None:
    app.command("apply")(apply)
    app.command("delete")(delete)
    app.command("plan")(plan)
    app.command("diff")(diff)


def apply(
    files_: Files = None,
    recursive: Recursive = False,
    namespace: Namespace = "",
    applyset: Annotated[str, typer.Option("--applyset", metavar="NAME", help="The objects are members of this set.")] = "",
    prune: Annotated[bool, typer.Option("--prune", help="Delete members of the set that are not given any more.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the containers are as declared.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", metavar="SPAN", help="How long --wait waits; 0 is for ever.")] = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, store nothing.")] = False,
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="Make missing namespaces.")] = False,
    force: Annotated[bool, typer.Option("--force-conflicts", help="Take fields over from other managers too.")] = False,
    output: Output = "",
) -> None:
    """Declare what is in files: all of it or, if anything is wrong, nothing. Returns when it is stored."""
    if prune and not applyset:
        raise wrong_use("--prune needs --applyset NAME: only members of a set are pruned")
    deadline = Deadline.after(seconds(timeout)) if wait else Deadline()
    objects = [_placed(obj, namespace) for obj in files.objects(files_, recursive=recursive)]
    client = connect()
    results = _apply(
        client,
        objects,
        force=force,
        dryRun=dry_run,
        createNamespaces=create_namespace,
        applySet={"name": applyset, "prune": prune} if applyset else None,
    )
    _show(results, output, dry_run)
    if wait and not dry_run:
        for obj in [result["object"] for result in results if result["outcome"] != "pruned"]:
            waiting.until(client, obj, waiting.settled, deadline, "being as declared")


def _apply(client: Client, objects: list[Object], **how: Any) -> list[Object]:
    """As a file's manager; a missing namespace is told with the way out."""
    try:
        return client.apply(objects, takeFrom=list(TAKEN), **how)
    except NotFound as exc:
        if "namespace" in exc.message and not how.get("createNamespaces"):
            raise NotFound(f"{exc.message}: --create-namespace makes it") from None
        raise


def _placed(obj: Object, namespace: str) -> Object:
    """The object in ``namespace`` where it names none. Raises Failed when it names another."""
    kind, meta = by_kind(str(obj.get("kind"))), obj.get("metadata")
    if not namespace or kind is None or not kind.namespaced or not isinstance(meta, dict):
        return obj
    given = meta.get("namespace") or namespace
    if given != namespace:
        raise Failed(f"{kind.kind} {meta.get('name')}: metadata.namespace: is {given!r}, but -n says {namespace!r}")
    return {**obj, "metadata": {**meta, "namespace": namespace}}


def _show(results: list[Object], output: str, dry_run: bool) -> None:
    if output in ("json", "yaml"):
        shown: Any = [result["object"] for result in results]
        document = shown[0] if len(shown) == 1 else {"apiVersion": "v1", "kind": "List", "items": shown}
        sys.stdout.write(json_text(document) if output == "json" else yaml_text(document))
        return
    for result in results:
        who = named(result["object"])
        out(who if output == "name" else f"{who} {paint(result['outcome'])}{' (dry run)' if dry_run else ''}")
        for field, manager in result["taken"]:
            note(f"{who}: {field.lstrip('.')} was held by {manager}; it is the file's now")


def delete(
    names: Names = None,
    files_: Files = None,
    recursive: Recursive = False,
    labels: Labels = "",
    all_: Annotated[bool, typer.Option("--all", help="All objects of the given kind in the namespace.")] = False,
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    grace: Annotated[
        int | None, typer.Option("--grace-period", metavar="SECONDS", help="Seconds between stop signal and SIGKILL.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Kill at once: a grace period of 0.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is gone.")] = True,
    timeout: Annotated[str, typer.Option("--timeout", metavar="SPAN", help="How long to wait; 0 is for ever.")] = "0",
    missing_ok: Annotated[bool, typer.Option("--ignore-not-found", help="What is not there is no error.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, delete nothing.")] = False,
) -> None:
    """Delete objects and wait until nothing of them is left on the node."""
    deadline = Deadline.after(seconds(timeout))
    client = connect()
    problems: list[str] = []
    if files_:
        objects = _declared(client, files_, recursive, namespace, problems, missing_ok)
    else:
        objects = _chosen(client, names, namespace, labels, all_, everywhere, problems, missing_ok)
    if objects and sys.stderr.isatty():
        note(f"deleting from the agent at {client.host}: {', '.join(map(named, objects))}")
    grace = 0 if force else grace
    options: dict[str, Any] = {} if grace is None else {"gracePeriodSeconds": grace}
    if dry_run:
        options["dryRun"] = ["All"]
    going = [obj for obj in objects if _begin(client, obj, options, problems)]
    for obj in going:
        if dry_run:
            out(f"{named(obj)} {paint('deleted')} (dry run)")
            continue
        if wait:
            waiting.gone(client, obj, deadline)
        out(f"{named(obj)} {paint('deleted')}" if wait else f"{named(obj)} deletion requested")
    if problems:
        raise Failed(*problems)


def _declared(
    client: Client, names: list[str], recursive: bool, namespace: str, problems: list[str], missing_ok: bool
) -> list[Object]:
    """What the files name, in the opposite order, as it is stored."""
    found = []
    for obj in reversed(files.objects(names, recursive=recursive)):
        placed = _placed(obj, namespace)
        kind = naming.kind_of(str(placed.get("kind", "")))
        meta = placed.get("metadata") or {}
        target = naming.Target(kind, str(meta.get("name", "")))
        found += _found(client, target, str(meta.get("namespace") or ""), problems, missing_ok)
    return found


def _chosen(
    client: Client,
    names: list[str] | None,
    namespace: str,
    labels: str,
    all_: bool,
    everywhere: bool,
    problems: list[str],
    missing_ok: bool,
) -> list[Object]:
    many = bool(all_ or labels)
    targets = naming.targets(names or (), kinds_alone=many)
    if many:
        if any(target.name for target in targets):
            raise wrong_use("give names, or --all or -l together with a kind, not both")
        if not targets:
            targets = [naming.Target(naming.container_type())]
        return naming.select(client, targets, namespace, labels=labels, everywhere=everywhere)
    if not targets:
        raise wrong_use("say what to delete: KIND NAME, NAME, -f FILE, or a kind with -l or --all")
    if len(names or ()) == 1 and targets[0].bare and by_alias(targets[0].name) is not None:
        raise wrong_use(f"delete {targets[0].name}: name the object, or add --all or -l")
    return [obj for target in targets for obj in _found(client, target, namespace, problems, missing_ok)]


def _found(client: Client, target: naming.Target, namespace: str, problems: list[str], missing_ok: bool) -> list[Object]:
    try:
        return [{"kind": target.kind.kind, **naming.read(client, target, namespace)}]
    except NotFound as exc:
        if not missing_ok:
            problems.append(exc.message)
        return []


def _begin(client: Client, obj: Object, options: dict[str, Any], problems: list[str]) -> bool:
    """Asks for the deletion of exactly this object; False when that was refused or it is gone already."""
    kind, meta = _kind(obj), obj["metadata"]
    try:
        client.delete(kind, meta.get("namespace", ""), meta["name"], preconditions={"uid": meta["uid"]}, **options)
    except NotFound:
        return True
    except StateError as exc:
        lines, code = explain(exc)
        if code != FAILED:
            raise
        problems += lines
        return False
    return True


def _kind(obj: Object) -> ResourceType:
    kind = by_kind(obj["kind"])
    assert kind is not None
    return kind


def plan(
    files_: Files = None,
    recursive: Recursive = False,
    namespace: Namespace = "",
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 10 when something would be done, 0 when nothing.")
    ] = False,
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="As if missing namespaces were made.")] = False,
    force: Annotated[bool, typer.Option("--force-conflicts", help="As apply would with it.")] = False,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")] = "",
) -> None:
    """Show what the node would do if the files were applied. Changes nothing."""
    objects = [_placed(obj, namespace) for obj in files.objects(files_, recursive=recursive)]
    client = connect()
    how = {"force": force, "createNamespaces": create_namespace}
    outcomes = {named(result["object"]): result["outcome"] for result in _apply(client, objects, dryRun=True, **how)}
    body = {"objects": objects, "takeFrom": list(TAKEN), **how}
    plans = client.request("POST", "/setpoint/v1/plan", body=body)["plans"]
    if output:
        sys.stdout.write(json_text({"plans": plans}) if output == "json" else yaml_text({"plans": plans}))
    else:
        for each in plans:
            _show_plan(each, outcomes)
    changed = any(each["actions"] for each in plans) or any(outcome != "unchanged" for outcome in outcomes.values())
    if detailed and changed:
        raise SystemExit(PLANNED)


def _show_plan(each: Object, outcomes: dict[str, str]) -> None:
    who = named({"kind": each["kind"], "metadata": {"namespace": each["namespace"], "name": each["name"]}})
    outcome = outcomes.get(who, "unchanged")
    stored = "is stored so already" if outcome == "unchanged" else f"would be {paint(outcome)}"
    out(f"{who} {stored}")
    for action in each["actions"]:
        out(f"  {action['text']}")
    if each["replaces"]:
        out("  replaces the running container: its writable layer is lost")
    if each["waits"]:
        out(f"  then waits: {each['waits']}")
    if not each["actions"] and each["kind"] == "Container" and not each["waits"]:
        out("  nothing to do on the node")


def diff(
    files_: Files = None,
    recursive: Recursive = False,
    namespace: Namespace = "",
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="As if missing namespaces were made.")] = False,
    force: Annotated[bool, typer.Option("--force-conflicts", help="As apply would with it.")] = False,
) -> None:
    """Show how files differ from what is stored. Exit 1 when they do."""
    import difflib

    objects = [_placed(obj, namespace) for obj in files.objects(files_, recursive=recursive)]
    client = connect()
    results = _apply(client, objects, dryRun=True, force=force, createNamespaces=create_namespace)
    differ = False
    for result in results:
        new, who = result["object"], named(result["object"])
        try:
            old = client.get(_kind(new), new["metadata"].get("namespace", ""), new["metadata"]["name"])
        except NotFound:
            old = None
        before, after = (_declaration(side).splitlines() if side else [] for side in (old, new))
        lines = list(difflib.unified_diff(before, after, f"stored/{who}", f"file/{who}", lineterm=""))
        differ = differ or bool(lines)
        for line in lines:
            out(paint(line, {"+": "created", "-": "deleted"}.get(line[:1], "-")))
    if differ:
        raise SystemExit(FAILED)


def _declaration(obj: Object) -> str:
    """What people declare of an object, as YAML; values of Secrets only by their length."""
    from setpoint.cli.secrets import redacted

    kept = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences")
    meta = {name: obj["metadata"][name] for name in kept if obj["metadata"].get(name)}
    return yaml_text({**{k: v for k, v in redacted(obj, digest=True).items() if k != "status"}, "metadata": meta})
