"""The table of kinds, and that it says the same as the models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from state.resources import types
from state.resources.problems import model_in
from state.resources.types import TYPES, ResourceType


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.kind)
def test_look_ups(kind: ResourceType) -> None:
    assert types.by_kind(kind.kind) is kind
    assert types.by_plural(kind.plural) is kind
    assert types.by_plural(kind.plural, kind.group) is kind
    assert types.by_plural(kind.plural, "other") is None
    for word in (kind.plural, kind.singular, kind.kind, kind.qualified, *kind.short_names):
        assert types.by_alias(word) is kind
    assert kind.model().__name__ == kind.kind
    assert kind.path in ("/api/v1", "/apis/setpoint.dev/v1alpha1")


@pytest.mark.parametrize(
    ("alias", "kind"),
    [
        ("ctr", "Container"),
        ("no", "Node"),
        ("img", "Image"),
        ("cm", "ConfigMap"),
        ("sec", "Secret"),
        ("ns", "Namespace"),
        ("ev", "Event"),
    ],
)
def test_short_names(alias: str, kind: str) -> None:
    found = types.by_alias(alias)
    assert found is not None
    assert found.kind == kind


def test_unknown() -> None:
    assert (types.by_kind("Pod"), types.by_plural("pods"), types.by_alias("po")) == (None, None, None)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.kind)
def test_lists_are_those_of_the_models(kind: ResourceType) -> None:
    told = {path: keys for path, keys in kind.lists.items() if path != "status.conditions"}
    assert told == dict(_lists(kind.model(), ""))


def _lists(model: type[BaseModel], path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, field in model.model_fields.items():
        at = f"{path}{field.alias or name}"
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if extra.get("x-kubernetes-list-type") == "set":
            yield at, ()
        elif keys := extra.get("x-kubernetes-list-map-keys"):
            assert isinstance(keys, list)
            yield at, tuple(str(key) for key in keys)
        if (inner := model_in(field.annotation)) is not None:
            yield from _lists(inner, f"{at}.")


def test_no_model_is_loaded_with_the_table() -> None:
    code = "import sys, state.resources.types, state.resources.documents; print('pydantic' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def _fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, str]]:
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", field.description or ""
        if (inner := model_in(field.annotation)) is not None:
            yield from _fields(inner, seen)


def test_every_field_is_described() -> None:
    seen: set[type[BaseModel]] = set()
    bare = [name for kind in TYPES for name, description in _fields(kind.model(), seen) if not description.endswith((".", '"'))]
    assert bare == []
