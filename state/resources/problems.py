"""From pydantic's errors to causes: the field's path, its value, and what would be right."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from state.errors import Cause
from state.resources import hints
from state.resources.decoding import json_type
from state.resources.fields import DUPLICATE, FORBIDDEN, INVALID, LATER, REQUIRED, TOO_LONG, UNSUPPORTED

TYPE_INVALID = "FieldValueTypeInvalid"

NOT_YET = "not supported yet"

_LEAD = {
    INVALID: "Invalid value",
    UNSUPPORTED: "Unsupported value",
    DUPLICATE: "Duplicate value",
}
_TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean (true or false)",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "tuple_type": "a list",
    "list_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One cause. ``unknown``: a field that no model has, at ``where``; it is pruned when decoding is not strict."""

    cause: Cause
    where: tuple[int | str, ...]
    unknown: bool = False


def path_of(where: Sequence[int | str]) -> str:
    """``("spec", "env", 0, "name")`` -> ``spec.env[0].name``; a key that is no plain word goes in brackets."""
    path = ""
    for part in where:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][-A-Za-z0-9_]*", part, re.ASCII):
            path += f".{part}" if path else part
        else:
            path += f"[{part[:80]}]"
    return path


def shown(value: object) -> str:
    """A value as JSON, cut to what fits a line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def explain(error: ErrorDetails, model: type[BaseModel], *, secret: bool) -> Problem:
    """One error of pydantic as a problem. ``secret``: values are left out."""
    where = tuple(part for part in error["loc"] if part != "[key]")
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown(where, value, model)
    if kind == LATER:
        detail = str(error.get("ctx", {}).get("text", ""))
        hint = hints.for_value(where, value)
        return _problem(where, (f"{detail} is {NOT_YET}" if detail else NOT_YET) + (f"; {hint}" if hint else ""), FORBIDDEN)
    if kind == "missing":
        return _problem(where, "Required value", REQUIRED)
    if hint := hints.for_value(where, value):
        return _problem(where, f"Invalid value: {shown(value)}: {hint}", INVALID)
    if kind in _TYPES:
        return _problem(where, f"must be {_TYPES[kind]}, not {json_type(value)}{_quoted(kind, value, secret)}", TYPE_INVALID)
    reason, message = _reason(error)
    lead = _LEAD.get(reason)
    if lead is None:
        return _problem(where, message, reason)
    return _problem(where, f"{lead}: {message}" if secret else f"{lead}: {shown(value)}: {message}", reason)


def _problem(where: tuple[int | str, ...], message: str, reason: str) -> Problem:
    return Problem(Cause(path_of(where), message, reason), where)


def _reason(error: ErrorDetails) -> tuple[str, str]:
    kind, value = error["type"], error["input"]
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", ""))) or ["true"]
        listed = ", ".join(f'"{each}"' if each else '""' for each in allowed)
        return UNSUPPORTED, (_nearest(value, allowed) + f"supported values: {listed}")
    if kind in ("string_too_short", "too_short"):
        return REQUIRED, "Required value: must not be empty"
    if kind in ("string_too_long", "too_long"):
        return TOO_LONG, f"Too long: at most {error.get('ctx', {}).get('max_length')}"
    if kind == "string_pattern_mismatch":
        return INVALID, "has a character that is not allowed"
    return (kind if kind.startswith("FieldValue") else INVALID), error["msg"]


def _quoted(kind: str, value: object, secret: bool) -> str:
    if kind == "string_type" and isinstance(value, (bool, int, float)) and not secret:
        return f': write "{json.dumps(value)}" in quotes'
    return ""


def _nearest(value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str):
        return ""
    plain = {re.sub(r"[-_ ]", "", each).lower(): each for each in allowed}
    close = difflib.get_close_matches(re.sub(r"[-_ ]", "", value[:64]).lower(), list(plain), 1, 0.75)
    return f'did you mean "{plain[close[0]]}"? ' if close and plain[close[0]] else ""


def _unknown(where: tuple[int | str, ...], value: object, model: type[BaseModel]) -> Problem:
    word, parent = str(where[-1]), where[:-1]
    if (hint := hints.for_word(parent, word, value)) is None:
        hint = _similar(word, fields_at(model, parent))
    if hint == NOT_YET:
        return _problem(where, NOT_YET, FORBIDDEN)
    message = "unknown field" + (f": {hint}" if hint else "")
    return Problem(Cause(path_of(where), message, INVALID), where, unknown=True)


def _similar(word: str, known: Sequence[str]) -> str:
    plain = {each.lower(): each for each in known}
    close = difflib.get_close_matches(re.sub(r"[-_]", "", word[:64]).lower(), list(plain), 1, 0.75)
    return f'did you mean "{plain[close[0]]}"?' if close else ""


def fields_at(model: type[BaseModel], where: Sequence[int | str]) -> Sequence[str]:
    """The fields, as the API spells them, of the object at a path; empty where there is no model."""
    at: type[BaseModel] | None = model
    for part in where:
        if isinstance(part, int):
            continue
        at = _submodels(at).get(part) if at is not None else None
    return [field.alias or name for name, field in at.model_fields.items()] if at is not None else ()


@cache
def _submodels(model: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    found = {}
    for name, field in model.model_fields.items():
        if (inner := model_in(field.annotation)) is not None:
            found[field.alias or name] = inner
    return found


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field: itself, optional, or the items of a list; None when it has none."""
    return next(_models_in(annotation), None)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (tuple, Union, UnionType) or hasattr(annotation, "__metadata__"):
        for inner in get_args(annotation)[: 1 if hasattr(annotation, "__metadata__") else None]:
            yield from _models_in(inner)
