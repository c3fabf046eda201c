"""Defaults written into the stored object: of ``spec`` and of the objects in it, never inside list items.

A default inside a list item would make every client-side apply of the list look like a change; those are filled when the
object is parsed into its model. The same rule shapes the generated CRDs, so both homes store the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from state.objects import Object
from state.resources.fields import format_duration
from state.resources.quantity import Quantity


class _Filler(NamedTuple):
    scalars: tuple[tuple[str, Any], ...]
    nested: tuple[tuple[str, type[BaseModel], bool], ...]
    """(field, model, made when absent)"""


def fill(obj: Object, model: type[BaseModel]) -> None:
    """Adds the defaults of ``model`` to ``obj`` in place. Values of a wrong type are left alone."""
    scalars, nested = _filler(model)
    for name, value in scalars:
        obj.setdefault(name, value)
    for name, inner, made in nested:
        if made and name not in obj:
            obj[name] = {}
        below = obj.get(name)
        if isinstance(below, dict):
            fill(below, inner)


def stored_default(field: FieldInfo) -> Any:
    """The default as JSON, or None when nothing is written for the field."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra.get("x-setpoint-conditional"):
        return None
    return to_json(field.default) if field.default_factory is None else None


def to_json(value: Any) -> Any:
    """A scalar default as JSON; None for what is none (empty texts and collections, required, unset)."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Quantity):
        return value.text
    return value if isinstance(value, (bool, int, float)) or (isinstance(value, str) and value) else None


def nested_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that holds one object; None for lists and scalars."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next((each for each in get_args(annotation) if each is not type(None)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def made_when_absent(field: FieldInfo) -> bool:
    factory: Callable[..., Any] | None = field.default_factory
    return isinstance(factory, type) and issubclass(factory, BaseModel)


@cache
def _filler(model: type[BaseModel]) -> _Filler:
    scalars: list[tuple[str, Any]] = []
    nested: list[tuple[str, type[BaseModel], bool]] = []
    for python_name, field in model.model_fields.items():
        name = field.alias or python_name
        if name in ("metadata", "status"):
            continue
        if (inner := nested_model(field)) is not None:
            nested.append((name, inner, made_when_absent(field)))
        elif (value := stored_default(field)) is not None:
            scalars.append((name, value))
    return _Filler(tuple(scalars), tuple(nested))
