"""image, orphans, node: what the node holds beside its objects."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, Annotated, Any

import typer

from setpoint.cli.failures import Failed, explain, not_yet, wrong_use
from setpoint.cli.options import connect
from setpoint.cli.printing import age, json_text, note, out, size, table, yaml_text
from setpoint.cli.progress import Progress, Reading
from state.errors import StateError, from_status

_UNBOUNDED_S = 30 * 86400.0
"""For answers that come when the last container has stopped."""
_MUTE = {"ignore_unknown_options": True, "allow_extra_args": True}

Format = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json or yaml.")]
Words = Annotated[list[str] | None, typer.Argument(hidden=True)]


def register(app: typer.Typer) -> None:
    image = typer.Typer(help="Images that the node holds: ls, load, pull, rm.", no_args_is_help=True, rich_markup_mode=None)
    image.command("ls")(image_ls)
    image.command("load")(image_load)
    image.command("pull")(image_pull)
    image.command("rm")(image_rm)
    for name in ("push", "save", "tag", "history"):
        _refuse(image, name, f"image {name}")
    app.add_typer(image, name="image")

    orphans = typer.Typer(
        help="Containers of ours without an object: ls, adopt, rm.", no_args_is_help=True, rich_markup_mode=None
    )
    orphans.command("ls")(orphans_ls)
    orphans.command("adopt")(orphans_adopt)
    orphans.command("rm")(orphans_rm)
    app.add_typer(orphans, name="orphans")

    node = typer.Typer(help="The node as a whole: stop.", no_args_is_help=True, rich_markup_mode=None)
    node.callback()(_node)
    node.command("stop")(node_stop)
    for name in ("hold", "drain"):
        _refuse(node, name, f"node {name}")
    app.add_typer(node, name="node")


def _node() -> None:
    return


def _refuse(app: typer.Typer, name: str, what: str) -> None:
    def refused(_words: Words = None) -> None:
        not_yet(what)

    app.command(name, hidden=True, context_settings=_MUTE)(refused)


# image


def image_ls(output: Format = "", digests: Annotated[bool, typer.Option("--digests", help="Whole digests.")] = False) -> None:
    """List the images that the node holds."""
    from state.references import familiar

    items = connect().request("GET", "/setpoint/v1/images")["items"]
    if output:
        sys.stdout.write(json_text({"items": items}) if output == "json" else yaml_text({"items": items}))
        return
    if not items:
        note("the node holds no images")
        return
    rows = [
        (
            familiar(item["reference"]),
            item["digest"] if digests else item["digest"].removeprefix("sha256:")[:12],
            size(item["sizeBytes"]),
            age(item["createdAt"]),
            _users(item["usedBy"]),
        )
        for item in sorted(items, key=lambda item: str(item["reference"]))
    ]
    table(("Reference", "Digest", "Size", "Age", "Used by"), rows)


def _users(names: list[str]) -> str:
    shown = ", ".join(name.removeprefix("default/") for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def image_load(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A tar of docker save or an OCI layout; - is stdin.")] = "",
    input_: Annotated[str, typer.Option("-i", "--input", help="The same, as Docker spells it.")] = "",
) -> None:
    """Load images from a tar."""
    path = file or input_
    if not path and sys.stdin.isatty():
        raise wrong_use("say which tar: setpoint image load FILE")
    with _opened(path) as archive, Progress() as progress:
        total = os.fstat(archive.fileno()).st_size if path not in ("", "-") else 0
        reading = Reading.of(archive, lambda done: progress.show(f"loading {path or 'stdin'}", done, total))
        references = connect().load_image(reading)
    for reference in references:
        out(f"loaded {reference}")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path in ("", "-"):
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as file:
            yield file


def image_pull(
    references: Annotated[list[str], typer.Argument(metavar="REFERENCE…", help="Such as busybox:1.36.")],
    credentials: Annotated[str, typer.Option("--credentials", metavar="USER:PASSWORD", help="For the registry.")] = "",
) -> None:
    """Fetch images from their registries. A pull without progress for 60 s fails; there is no limit in all."""
    user, _, password = credentials.partition(":")
    login = {"username": user, "password": password} if credentials else None
    for reference in references:
        _pull(reference, login)


def _pull(reference: str, login: dict[str, str] | None) -> None:
    digest = ""
    with Progress() as progress:
        for line in connect().lines("POST", "/setpoint/v1/images/pull", body={"reference": reference, "credentials": login}):
            if "error" in line:
                raise from_status(line["status"]) if line.get("status") else Failed(f"{reference}: {line['error']}")
            digest = line.get("digest") or digest
            progress.show(f"{reference}: {line.get('status', '')}", int(line.get("done") or 0), int(line.get("total") or 0))
    if not digest:
        raise Failed(f"{reference}: the pull broke off")
    out(f"pulled {reference} {digest}")


def image_rm(references: Annotated[list[str], typer.Argument(metavar="REFERENCE…", help="As image ls shows them.")]) -> None:
    """Remove images that no container uses."""
    client = connect()
    _each(references, lambda one: client.request("DELETE", "/setpoint/v1/images", query={"reference": one}), "removed")


# orphans


def orphans_ls(output: Format = "") -> None:
    """List containers of ours whose object is gone and was not deleted here. They run on until adopted or removed."""
    items = connect().request("GET", "/setpoint/v1/orphans")["items"]
    if output:
        sys.stdout.write(json_text({"items": items}) if output == "json" else yaml_text({"items": items}))
        return
    if not items:
        note("no orphans")
        return
    table(
        ("Id", "Was", "State", "PID", "Image", "Adoptable", "Reason"),
        [
            (each["id"], f"{each['namespace']}/{each['name']}", each["state"], each["pid"] or "", each["image"],
             each["adoptable"], each["reason"])
            for each in items
        ],
    )  # fmt: skip


def orphans_adopt(ids: Annotated[list[str], typer.Argument(metavar="ID…", help="As orphans ls shows them.")]) -> None:
    """Make their objects again from the declaration kept with them; what runs is not touched."""
    client = connect()

    def adopt(one: str) -> str:
        key = client.request("POST", f"/setpoint/v1/orphans/{_path_part(one)}/adopt")
        return f"adopted as container/{key['name']} in namespace {key['namespace']}"

    _each(ids, adopt, "adopted")


def orphans_rm(ids: Annotated[list[str], typer.Argument(metavar="ID…", help="As orphans ls shows them.")]) -> None:
    """Stop and remove them."""
    client = connect(timeout_s=_UNBOUNDED_S)
    if sys.stderr.isatty():
        note(f"removing from the agent at {client.host}: {', '.join(ids)}")
    _each(ids, lambda one: client.request("DELETE", f"/setpoint/v1/orphans/{_path_part(one)}"), "removed")


def _path_part(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _each(names: list[str], act: Any, done: str) -> None:
    problems: list[str] = []
    worst = 1
    for name in names:
        try:
            answer = act(name)
        except StateError as exc:
            lines, code = explain(exc)
            problems += lines
            worst = max(worst, code)
        else:
            out(f"{name} {answer if isinstance(answer, str) else done}")
    if problems:
        raise Failed(*problems, code=worst)


# node


def node_stop() -> None:
    """Stop every container within its grace period, and let none start until the agent is started again.

    What is declared stays: with the next start of the agent everything runs again. The host's shutdown does this by itself
    where setpoint is installed as a service."""
    client = connect(timeout_s=_UNBOUNDED_S)
    stopped = client.request("POST", "/setpoint/v1/node/stop")["stopped"]
    out(f"stopped {stopped} container{'' if stopped == 1 else 's'}; none starts until the agent is started again")
