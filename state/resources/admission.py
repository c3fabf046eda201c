"""What may be stored: decode, fill defaults, validate. Pure.

Every problem of an object is told at once, each with the field's path, its value and what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ValidationError

from state.errors import BadRequest, Cause, Invalid, StateError, TooLarge
from state.objects import Object
from state.resources import types
from state.resources.configmap import DATA_BYTES, data_size
from state.resources.container_rules import annotation_problems, rule_problems
from state.resources.decoding import OBJECT_BYTES, copied, json_type
from state.resources.defaults import fill
from state.resources.fields import FORBIDDEN, INVALID, REQUIRED, TOO_LONG, UNSUPPORTED
from state.resources.meta import metadata_problems
from state.resources.problems import Problem, explain, shown
from state.resources.secret import fold_string_data, type_problems
from state.resources.types import ResourceType

_MOST_CAUSES = 100


class Admitted(NamedTuple):
    """An object that may be stored. ``warnings``: what was left out of it because decoding was not strict."""

    object: Object
    warnings: tuple[str, ...] = ()


def admit(obj: Object, old: Object | None = None, *, strict: bool = True) -> Object:
    """The object as it is to be stored: a copy with its defaults. ``old`` is the stored one that it replaces.

    Nulls count as absent. ``strict=False`` drops unknown fields. Raises BadRequest (it cannot be read, or has unknown
    fields), Invalid (it breaks a rule; in both, ``causes`` hold every problem), TooLarge.
    """
    return review(obj, old, strict=strict).object


def review(obj: Object, old: Object | None = None, *, strict: bool = True) -> Admitted:
    """:func:`admit`, and what it dropped."""
    new = copied(obj)
    kind = _kind_of(new)
    new = fold_string_data(new) if kind.secret else new
    model = kind.model()
    problems = _shape_problems(new, model, secret=kind.secret)
    dropped = [each for each in problems if each.unknown]
    warnings: tuple[str, ...] = ()
    if dropped and not strict:
        for each in dropped:
            _prune(new, each.where)
        warnings = tuple(str(each.cause) for each in dropped)
        problems, dropped = _shape_problems(new, model, secret=kind.secret), []
    fill(new, model)
    causes = _merged([each.cause for each in problems], _rule_problems(new, kind, old))
    if causes:
        raise _refusal(new, kind, causes, unknown=dropped)
    if len(orjson.dumps(new)) > OBJECT_BYTES:
        raise TooLarge(f"{_title(new, kind)} is larger than {OBJECT_BYTES} bytes", kind=kind.kind, name=new["metadata"]["name"])
    return Admitted(new, warnings)


def _kind_of(obj: Object) -> ResourceType:
    """The type of the object. Raises BadRequest with a hint."""
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if "services" in obj and kind is None:
        raise BadRequest(
            "this is a compose file: write one object of kind Container per service, its fields under spec",
            causes=[Cause("services", "is compose: write kind: Container", UNSUPPORTED)],
        )
    causes = []
    found = types.by_kind(kind) if isinstance(kind, str) else None
    if kind is None:
        causes.append(Cause("kind", "Required value: such as Container", REQUIRED))
    elif found is None:
        causes.append(Cause("kind", _unknown_kind(kind), UNSUPPORTED))
    if version is None:
        wanted = found.api_version if found else "setpoint.dev/v1alpha1"
        causes.append(Cause("apiVersion", f"Required value: write {wanted}", REQUIRED))
    elif found is not None and version != found.api_version:
        causes.append(
            Cause("apiVersion", f'Unsupported value: {shown(version)}: {kind} is in "{found.api_version}"', UNSUPPORTED)
        )
    if found is None or causes:
        raise BadRequest("; ".join(map(str, causes)), causes=causes)
    return found


_LATER_KINDS = frozenset({"ContainerSet", "ContainerJob", "ContainerCronJob", "NodeSet", "Volume", "Network"})
_FOREIGN_KINDS = {
    "Pod": "write kind: Container, one object per container",
    "Deployment": "write kind: Container, one object per replica",
    "DaemonSet": "write kind: Container",
    "Job": "write kind: Container with restartPolicy: OnFailure",
}


def _unknown_kind(kind: object) -> str:
    if not isinstance(kind, str):
        return f"must be a string, not {json_type(kind)}"
    if kind in _LATER_KINDS:
        return f"{kind} is not supported yet"
    near = types.by_alias(kind)
    hint = _FOREIGN_KINDS.get(kind) or (f'did you mean "{near.kind}"?' if near else "")
    listed = ", ".join(each.kind for each in types.TYPES)
    return f"Unsupported value: {shown(kind)}: {hint or f'supported values: {listed}'}"


def _shape_problems(obj: Object, model: type[BaseModel], *, secret: bool) -> list[Problem]:
    try:
        model.model_validate(obj)
    except ValidationError as exc:
        return [explain(error, model, secret=secret) for error in exc.errors(include_url=False)]
    return []


def _rule_problems(obj: Object, kind: ResourceType, old: Object | None) -> Iterator[Cause]:
    meta = obj.get("metadata")
    if isinstance(meta, dict):
        yield from metadata_problems(meta, namespaced=kind.namespaced, subdomain=kind.subdomain)
    if (rules := _RULES.get(kind.kind)) is not None:
        yield from rules(obj)
    if old is not None:
        yield from _changes(obj, old)


def _container(obj: Object) -> Iterator[Cause]:
    yield from annotation_problems(obj.get("metadata"))
    if isinstance(spec := obj.get("spec"), dict):
        yield from rule_problems(spec)


def _data(obj: Object) -> Iterator[Cause]:
    if (size := data_size(obj)) > DATA_BYTES:
        yield Cause("data", f"Too long: {size} bytes in all, at most {DATA_BYTES}", TOO_LONG)
    if obj["kind"] == "Secret":
        yield from type_problems(obj)
    data, binary = obj.get("data"), obj.get("binaryData")
    if isinstance(data, dict) and isinstance(binary, dict):
        for key in sorted(data.keys() & binary.keys()):
            yield Cause(f"binaryData[{key}]", "Invalid value: data has this key too", INVALID)


_RULES: dict[str, Callable[[Object], Iterator[Cause]]] = {"Container": _container, "Secret": _data, "ConfigMap": _data}


def _changes(new: Object, old: Object) -> Iterator[Cause]:
    """What may not change."""
    was, now = old.get("metadata") or {}, new.get("metadata")
    for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"):
        if isinstance(now, dict) and was.get(name) and now.get(name) and now[name] != was[name]:
            yield _fixed(f"metadata.{name}", now[name], was[name])
    kind = old.get("kind")
    if kind == "Container":
        yield from _node_name(new.get("spec"), (old.get("spec") or {}).get("nodeName"))
    if kind == "Secret" and new.get("type") != old.get("type", "Opaque"):
        yield _fixed("type", new.get("type"), old.get("type", "Opaque"))
    if kind in ("Secret", "ConfigMap") and old.get("immutable") is True:
        if new.get("immutable") is not True:
            yield Cause("immutable", "Forbidden: once true it stays: delete the object and make it anew", FORBIDDEN)
        for name in ("data", "binaryData"):
            if (new.get(name) or {}) != (old.get(name) or {}):
                yield Cause(name, "Forbidden: the object is immutable: delete it and make it anew", FORBIDDEN)


def _node_name(spec: Any, was: object) -> Iterator[Cause]:
    if was and isinstance(spec, dict) and spec.get("nodeName") != was:
        yield _fixed("spec.nodeName", spec.get("nodeName"), was)


def _fixed(path: str, now: object, was: object) -> Cause:
    return Cause(path, f"Invalid value: {shown(now)}: field is immutable: it is {shown(was)}", INVALID)


def _merged(shape: Sequence[Cause], rules: Iterator[Cause]) -> list[Cause]:
    """Shape first; of two causes for one field only the first, since a value of a wrong shape breaks rules too."""
    seen: set[str] = set()
    causes: list[Cause] = []
    for each in shape:
        if each not in causes[-20:]:
            causes.append(each)
        seen.add(each.field)
    causes += [each for each in rules if each.field not in seen]
    return causes


def _title(obj: Object, kind: ResourceType) -> str:
    meta = obj.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else ""
    return f"{kind.kind}{f'.{kind.group}' if kind.group else ''} {json.dumps(name if isinstance(name, str) else '')[:80]}"


def _refusal(obj: Object, kind: ResourceType, causes: list[Cause], *, unknown: Sequence[Problem]) -> StateError:
    meta = obj.get("metadata")
    name = meta.get("name", "") if isinstance(meta, dict) else ""
    more = len(causes) - _MOST_CAUSES
    causes = causes[:_MOST_CAUSES] + ([Cause("", f"and {more} more problems", INVALID)] if more > 0 else [])
    told = "; ".join(map(str, causes))
    if unknown:
        told = f'strict decoding error: unknown field "{unknown[0].cause.field}"; {told}'
    error = BadRequest if unknown else Invalid
    return error(
        f"{_title(obj, kind)} is invalid: {told}", causes=causes, kind=kind.kind, name=name if isinstance(name, str) else ""
    )


def _prune(obj: Object, where: Sequence[int | str]) -> None:
    """Takes the field at a path away; does nothing when the path is no longer there."""
    at: Any = obj
    for part in where[:-1]:
        if isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        elif isinstance(at, dict):
            at = at.get(part)
        else:
            return
    if isinstance(at, dict):
        at.pop(where[-1], None)
