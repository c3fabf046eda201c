"""What the words after a verb mean: ``KIND NAME``, ``KIND/NAME``, a bare ``NAME`` (a Container), the beginning of an id."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from setpoint.cli.failures import wrong_use
from state.errors import NotFound
from state.objects import Object
from state.resources.types import TYPES, ResourceType, by_alias, by_kind

if TYPE_CHECKING:
    from setpoint.client import Client

LATER_KINDS = frozenset(
    [
        "volume",
        "volumes",
        "vol",
        "network",
        "networks",
        "net",
        "containerset",
        "containersets",
        "cset",
        "containerjob",
        "containerjobs",
        "cjob",
        "containercronjob",
        "containercronjobs",
        "nodeset",
        "nodesets",
    ]
)
_ID = re.compile(r"[0-9a-f]{4,32}(-\d{0,9})?|[0-9a-f]{8}-[0-9a-f-]{1,27}")


def container_type() -> ResourceType:
    kind = by_kind("Container")
    assert kind is not None
    return kind


@dataclass(frozen=True, slots=True)
class Target:
    """``name`` empty: all of that kind. ``bare``: no kind was typed, so that it may be the beginning of an id."""

    kind: ResourceType
    name: str = ""
    bare: bool = False


def kind_of(word: str) -> ResourceType:
    """The kind that ``word`` names. Raises Failed that says which there are."""
    found = by_alias(word)
    if found is not None:
        return found
    if word.lower() in LATER_KINDS:
        raise wrong_use(f"the kind {word!r} is not supported yet")
    near = difflib.get_close_matches(word.lower(), [a for t in TYPES for a in (t.singular, t.plural)], 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(t.plural for t in TYPES)}"
    raise wrong_use(f"there is no kind {word!r}; {hint}")


def targets(words: Sequence[str], *, kinds_alone: bool) -> list[Target]:
    """``kinds_alone``: a single kind means all of them (``get containers``); else a single word is always a Container's name.

    Raises Failed for words that contradict each other."""
    if not words:
        return []
    if any("/" in word for word in words):
        return [_slashed(word) for word in words]
    kinds = _kinds(words[0])
    if kinds and (kinds_alone or len(words) > 1):
        names = list(dict.fromkeys(words[1:]))
        return [Target(kind, name) for kind in kinds for name in names or ("",)]
    return [Target(container_type(), word, bare=True) for word in dict.fromkeys(words)]


def _kinds(word: str) -> list[ResourceType]:
    """The kinds in ``container``, ``ctr,cm`` or ``all``; none when it is a name."""
    if word == "all":
        return [kind for kind in TYPES if "all" in kind.categories]
    if "," in word:
        return [kind_of(part) for part in word.split(",") if part]
    if word.lower() in LATER_KINDS:
        return [kind_of(word)]
    found = by_alias(word)
    return [found] if found else []


def _slashed(word: str) -> Target:
    kind, slash, name = word.partition("/")
    if not (kind and slash and name) or "/" in name:
        raise wrong_use(f"{word!r} is no KIND/NAME; either all words are KIND/NAME or none is")
    return Target(kind_of(kind), name)


def containers(words: Sequence[str]) -> list[Target]:
    """Targets of a verb that knows Containers only."""
    found = targets(words, kinds_alone=False)
    for target in found:
        if target.kind.kind != "Container":
            raise wrong_use(f"this verb works on containers, not on a {target.kind.kind}")
    return found


def one_container(words: Sequence[str]) -> tuple[Target, list[str]]:
    """``NAME COMMAND…`` or ``KIND NAME COMMAND…``, with or without ``--`` between: the container, and the command."""
    if not words:
        raise wrong_use("name a container")
    taken = 2 if len(words) > 1 and by_alias(words[0]) == container_type() and words[1] != "--" else 1
    (target,) = containers(words[:taken])
    rest = list(words[taken:])
    return target, rest[1:] if rest[:1] == ["--"] else rest


def read(client: Client, target: Target, namespace: str) -> Object:
    """The object. A bare name that is none is looked up as the beginning of a container id or uid. Raises NotFound."""
    try:
        return client.get(target.kind, namespace or "default", target.name)
    except NotFound as exc:
        if not (target.bare and _ID.fullmatch(target.name)):
            raise _hinted(client, target, namespace, exc) from None
        found = list(_by_id(client.list(target.kind, namespace)["items"], target.name))
    if len(found) > 1:
        names = ", ".join(obj["metadata"]["name"] for obj in found[:5])
        raise wrong_use(f"{target.name!r} is the beginning of {len(found)} ids ({names}): give more of it")
    if not found:
        raise NotFound(f"there is no container with the name or id {target.name!r}")
    return found[0]


def _hinted(client: Client, target: Target, namespace: str, exc: NotFound) -> NotFound:
    """NotFound with where it is, or what has a name like it."""
    where = f" in namespace {namespace or 'default'}" if target.kind.namespaced else ""
    message = f"there is no {target.kind.singular} {target.name!r}{where}"
    others = [obj["metadata"] for obj in client.list(target.kind)["items"]]
    elsewhere = [meta["namespace"] for meta in others if meta["name"] == target.name and meta.get("namespace")]
    near = difflib.get_close_matches(target.name, [meta["name"] for meta in others], 1, 0.6)
    if elsewhere:
        message += f"; there is one in {elsewhere[0]}: add -n {elsewhere[0]}"
    elif near:
        message += f"; did you mean {near[0]}?"
    elif "not found" not in exc.message and exc.message:
        message = exc.message
    return NotFound(message)


def _by_id(items: Iterable[Object], start: str) -> Iterator[Object]:
    for obj in items:
        uid = str(obj["metadata"].get("uid", ""))
        ids = (str((obj.get("status") or {}).get("containerID", "")), uid, uid.replace("-", ""))
        if any(one.startswith(start) for one in ids):
            yield obj


def select(
    client: Client, found: Sequence[Target], namespace: str, *, labels: str = "", everywhere: bool = False
) -> list[Object]:
    """The objects of all targets, each once. Raises NotFound, and Failed for a selector together with names."""
    if labels and any(target.name for target in found):
        raise wrong_use("give names or a selector (-l), not both")
    chosen: dict[tuple[str, str, str], Object] = {}
    for target in found:
        if target.name:
            objects = [read(client, target, namespace)]
        else:
            objects = client.list(target.kind, "" if everywhere else namespace or "default", labels=labels)["items"]
        for obj in objects:
            obj = {"apiVersion": target.kind.api_version, "kind": target.kind.kind, **obj}
            meta = obj["metadata"]
            chosen[(target.kind.kind, meta.get("namespace", ""), meta["name"])] = obj
    return list(chosen.values())


def chosen_containers(
    client: Client, words: Sequence[str] | None, namespace: str, labels: str, *, everywhere: bool = False
) -> list[Object]:
    """What a verb on containers is to act upon: the named ones, or those that a selector finds. Raises Failed for neither."""
    found = containers(words or ())
    if not found and not labels:
        raise wrong_use("name at least one container, or select some with -l")
    objects = select(client, found or [Target(container_type())], namespace, labels=labels, everywhere=everywhere)
    if not objects:
        raise NotFound(f"no container matches {labels!r}")
    return objects
