"""Content negotiation: the ``Table`` that kubectl prints and the ``PartialObjectMetadata`` that caches want.

Columns are the kind's printer columns, with Name before and Age after them, as an API server does for a CRD.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import orjson

from setpoint.ages import human_duration
from state.clock import moment
from state.objects import Object, Stored
from state.resources.types import Column, ResourceType

Form = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
_FORMS: dict[str, Form] = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadataList",
}
_NAME = Column("Name", "string", ".metadata.name", description="Name is unique within a namespace.")
_AGE = Column("Age", "date", ".metadata.creationTimestamp", description="Time since the object was made.")


def negotiate(accept: str) -> Form:
    """The first form in the Accept header that is known; plain JSON is the empty one."""
    for choice in accept.split(","):
        media, *parameters = (part.strip() for part in choice.split(";"))
        if media not in ("application/json", "*/*"):
            continue
        wanted = dict(part.partition("=")[::2] for part in parameters)
        form = wanted.get("as", "")
        if not form:
            return ""
        if form in _FORMS and wanted.get("g") == "meta.k8s.io" and wanted.get("v") in ("v1", "v1beta1"):
            return _FORMS[form]
    return ""


class Tables:
    """Makes tables of one kind."""

    def __init__(self, kind: ResourceType) -> None:
        names = {column.name for column in kind.columns}
        self._columns = tuple(
            column
            for column in (_NAME, *kind.columns, _AGE)
            # A kind may bring Name or Age itself, in a place of its own choice.
            if column in kind.columns or column.name not in names
        )

    def table(self, items: Sequence[Stored], *, include: str, now: datetime, columns: bool = True, meta: Object) -> bytes:
        """``include``: Metadata (default), Object or None, of ``includeObject``."""
        rows = [self._row(stored, include, now) for stored in items]
        return orjson.dumps(
            {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": meta,
                "columnDefinitions": [self._definition(column) for column in self._columns] if columns else None,
                "rows": rows,
            }
        )

    @staticmethod
    def _definition(column: Column) -> Object:
        return {
            "name": column.name,
            "type": column.type,
            "format": "name" if column is _NAME else "",
            "description": column.description,
            "priority": column.priority,
        }

    def _row(self, stored: Stored, include: str, now: datetime) -> Object:
        obj = orjson.loads(stored.body)
        cells = [_cell(column, at(obj, column.path), now) for column in self._columns]
        shown: Any = None
        if include == "Object":
            shown = orjson.Fragment(stored.body)
        elif include != "None":
            shown = partial(obj)
        return {"cells": cells, "object": shown}


def partial(obj: Object) -> Object:
    """Only the metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata", {})}


def partial_list(items: Sequence[Stored], meta: Object) -> bytes:
    """``PartialObjectMetadataList``."""
    return orjson.dumps(
        {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "items": [partial(orjson.loads(stored.body)) for stored in items],
        }
    )


def at(obj: Any, path: str) -> Any:
    """The value at a simple JSONPath: ``.a.b``, ``.a[0]``, ``.a[?(@.type=="Ready")].b``; None when there is none."""
    found = obj
    for step in _steps(path):
        if isinstance(step, str):
            found = found.get(step) if isinstance(found, dict) else None
        elif isinstance(step, int):
            found = found[step] if isinstance(found, list) and -len(found) <= step < len(found) else None
        else:
            name, wanted = step
            rows = found if isinstance(found, list) else ()
            found = next((row for row in rows if isinstance(row, dict) and row.get(name) == wanted), None)
        if found is None:
            return None
    return found


def _steps(path: str) -> list[str | int | tuple[str, str]]:
    steps: list[str | int | tuple[str, str]] = []
    rest = path.strip("{}")
    while rest:
        if rest.startswith("[?(@."):
            inside, _, rest = rest[5:].partition(")]")
            name, _, wanted = inside.partition("==")
            steps.append((name.strip(), wanted.strip().strip("\"'")))
        elif rest.startswith("["):
            inside, _, rest = rest[1:].partition("]")
            steps.append(int(inside) if inside.lstrip("-").isdigit() else inside.strip("\"'"))
        else:
            end = next((i for i, sign in enumerate(rest[1:], 1) if sign in ".["), len(rest))
            steps.append(rest[1:end] if rest[0] == "." else rest[:end])
            rest = rest[end:]
    return steps


def _cell(column: Column, value: Any, now: datetime) -> Any:
    if value is None:
        return "<unknown>" if column.name == "Age" else None
    if column.type == "date":
        return _age(str(value), now)
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return value


def _age(text: str, now: datetime) -> str:
    then = moment(text)
    return human_duration((now - then).total_seconds()) if then else "<invalid>"
