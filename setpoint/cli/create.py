"""create, label, annotate: small objects and notes without a file."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from typing import Annotated, Any

import typer

from setpoint.cli import naming
from setpoint.cli.failures import Failed, wrong_use
from setpoint.cli.options import AllNamespaces, Labels, Namespace, connect
from setpoint.cli.printing import json_text, named, out, paint, yaml_text
from state.objects import Object
from state.resources.types import by_kind

Literals = Annotated[list[str] | None, typer.Option("--from-literal", metavar="KEY=VALUE", help="One key and its value.")]
FromFiles = Annotated[
    list[str] | None, typer.Option("--from-file", metavar="[KEY=]PATH", help="A file, or each file of a folder; - is stdin.")
]
EnvFiles = Annotated[list[str] | None, typer.Option("--from-env-file", metavar="PATH", help="A file of KEY=VALUE lines.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the object, make nothing.")]
Format = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="yaml or json.")]
_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def register(app: typer.Typer) -> None:
    create = typer.Typer(help="Make a Secret, ConfigMap or Namespace.", no_args_is_help=True, rich_markup_mode=None)
    secret = typer.Typer(help="Make a Secret.", no_args_is_help=True, rich_markup_mode=None)
    secret.command("generic")(secret_generic)
    secret.command("docker-registry")(secret_registry)
    create.add_typer(secret, name="secret")
    create.command("configmap")(configmap)
    create.command("cm", hidden=True)(configmap)
    create.command("namespace")(namespace_)
    create.command("ns", hidden=True)(namespace_)
    app.add_typer(create, name="create")
    app.command("label")(label)
    app.command("annotate")(annotate)


def secret_generic(
    name: Name,
    literals: Literals = None,
    files: FromFiles = None,
    env_files: EnvFiles = None,
    type_: Annotated[str, typer.Option("--type", help="Default: Opaque.")] = "",
    namespace: Namespace = "",
    dry_run: DryRun = False,
    output: Format = "",
) -> None:
    """Make a Secret from values and files."""
    data = {key: base64.b64encode(value).decode() for key, value in _data(literals, files, env_files).items()}
    obj: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
    _make({**obj, "type": type_} if type_ else obj, namespace, dry_run, output)


def secret_registry(
    name: Name,
    username: Annotated[str, typer.Option("--docker-username")],
    password: Annotated[str, typer.Option("--docker-password", help="- reads it from stdin.")],
    server: Annotated[str, typer.Option("--docker-server", help="Default: Docker Hub.")] = "https://index.docker.io/v1/",
    namespace: Namespace = "",
    dry_run: DryRun = False,
    output: Format = "",
) -> None:
    """Make a Secret with credentials of a registry, for imagePullSecrets."""
    if password == "-":  # noqa: S105
        password = sys.stdin.readline().rstrip("\n")
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    config = json.dumps({"auths": {server: {"username": username, "password": password, "auth": auth}}})
    obj: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }
    _make(obj, namespace, dry_run, output)


def configmap(
    name: Name,
    literals: Literals = None,
    files: FromFiles = None,
    env_files: EnvFiles = None,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    output: Format = "",
) -> None:
    """Make a ConfigMap from values and files."""
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {}}
    for key, value in _data(literals, files, env_files).items():
        try:
            obj["data"][key] = value.decode()
        except UnicodeDecodeError:
            obj.setdefault("binaryData", {})[key] = base64.b64encode(value).decode()
    _make(obj, namespace, dry_run, output)


def namespace_(name: Name, dry_run: DryRun = False, output: Format = "") -> None:
    """Make a Namespace."""
    _make({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, "", dry_run, output)


def _make(obj: Object, namespace: str, dry_run: bool, output: str) -> None:
    kind = by_kind(obj["kind"])
    assert kind is not None
    if kind.namespaced:
        obj["metadata"]["namespace"] = namespace or "default"
    if dry_run or output:
        if not dry_run:
            raise wrong_use("-o goes with --dry-run")
        sys.stdout.write(json_text(obj) if output == "json" else yaml_text(obj))
        return
    out(f"{named(connect().create(kind, obj, manager='setpoint-create') | {'kind': kind.kind})} {paint('created')}")


def _data(literals: list[str] | None, files: list[str] | None, env_files: list[str] | None) -> dict[str, bytes]:
    data: dict[str, bytes] = {}

    def put(key: str, value: bytes, source: str) -> None:
        if key in data:
            raise wrong_use(f"{source}: the key {key!r} is given twice")
        data[key] = value

    for literal in literals or ():
        key, equals, value = literal.partition("=")
        if not equals or not key:
            raise wrong_use(f"--from-literal {literal.partition('=')[0]!r}: write KEY=VALUE")
        put(key, value.encode(), "--from-literal")
    for given in files or ():
        for key, path in _keyed(given):
            put(key, _content(path), f"--from-file {path}")
    for path in env_files or ():
        from setpoint.cli.dockerflags import read_env_file

        for line in read_env_file(path):
            key, _, value = line.partition("=")
            put(key, value.encode(), f"--from-env-file {path}")
    return data


def _keyed(given: str) -> list[tuple[str, str]]:
    key, equals, path = given.partition("=")
    if equals:
        return [(key, path)]
    if given == "-":
        raise wrong_use("--from-file -: stdin has no name: write KEY=-")
    if not os.path.isdir(given):
        return [(os.path.basename(given), given)]
    names = sorted(name for name in os.listdir(given) if os.path.isfile(os.path.join(given, name)) and _KEY.fullmatch(name))
    return [(name, os.path.join(given, name)) for name in names]


def _content(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()


Words = Annotated[list[str], typer.Argument(metavar="KIND NAME… KEY=VALUE|KEY-…", help="KEY- takes a key away.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a value that is there.")]


def label(
    words: Words,
    overwrite: Overwrite = False,
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Set or take away labels."""
    _mark("labels", "labeled", words, overwrite, labels, namespace, everywhere)


def annotate(
    words: Words,
    overwrite: Overwrite = False,
    labels: Labels = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
) -> None:
    """Set or take away annotations."""
    _mark("annotations", "annotated", words, overwrite, labels, namespace, everywhere)


def _mark(field: str, done: str, words: list[str], overwrite: bool, labels: str, namespace: str, everywhere: bool) -> None:
    marks = [word for word in words if "=" in word or word.endswith("-")]
    names = [word for word in words if word not in marks]
    wanted: dict[str, Any] = dict(word.split("=", 1) if "=" in word else (word[:-1], None) for word in marks)  # type: ignore[misc]
    if not wanted:
        raise wrong_use(f"say which {field}: KEY=VALUE, or KEY- to take one away")
    targets = naming.targets(names, kinds_alone=bool(labels))
    if not targets:
        raise wrong_use("say which objects: KIND NAME, KIND/NAME or NAME")
    client, problems = connect(), []
    for obj in naming.select(client, targets, namespace, labels=labels, everywhere=everywhere):
        meta, kind = obj["metadata"], by_kind(obj["kind"])
        assert kind is not None
        present = meta.get(field) or {}
        taken = [key for key, value in wanted.items() if value is not None and present.get(key, value) != value]
        if taken and not overwrite:
            problems.append(
                f"{named(obj)}: metadata.{field}[{taken[0]}]: is {present[taken[0]]!r} already; --overwrite replaces it"
            )
            continue
        patch = {"metadata": {"uid": meta["uid"], field: wanted}}
        manager = "setpoint-label" if field == "labels" else "setpoint-annotate"
        client.patch(kind, meta.get("namespace", ""), meta["name"], patch, manager=manager)
        out(f"{named(obj)} {done}")
    if problems:
        raise Failed(*problems)
