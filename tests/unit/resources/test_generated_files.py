"""CRDs and the API reference are as generated, and the CRDs are what an API server takes and does the same as admission."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from setpoint.generate.__main__ import differing, files, write
from setpoint.generate.reference import page
from setpoint.generate.schema import crd, kind_schema
from setpoint.testing.hostile import HOSTILE, Hostile
from state.objects import GROUP
from state.resources.admission import admit
from state.resources.types import TYPES, ResourceType, by_kind

OURS = [kind for kind in TYPES if kind.group == GROUP]
TWINS = [case for case in HOSTILE if case.twin["apiVersion"].startswith(GROUP)]


def test_files_are_as_generated() -> None:
    assert differing(Path(__file__).parents[3]) == []


def test_differences_are_found_and_mended(tmp_path: Path) -> None:
    assert differing(tmp_path) == sorted(files())
    write(tmp_path)
    assert differing(tmp_path) == []
    (tmp_path / "crds" / "stray.yaml").write_text("")
    (tmp_path / "docs" / "api-reference.md").write_text("edited")
    assert differing(tmp_path) == ["crds/stray.yaml", "docs/api-reference.md"]
    write(tmp_path)
    assert differing(tmp_path) == []


def _nodes(schema: Any, path: str = "", *, in_list: bool = False) -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield path, schema, in_list
    for name, part in schema.get("properties", {}).items():
        yield from _nodes(part, f"{path}.{name}", in_list=in_list)
    if "items" in schema:
        yield from _nodes(schema["items"], f"{path}[]", in_list=True)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _nodes(schema["additionalProperties"], f"{path}{{}}", in_list=in_list)


_WORDS = {
    "type", "description", "properties", "required", "items", "additionalProperties", "enum", "default", "minimum", "maximum",
    "minLength", "maxLength", "pattern", "minItems", "maxItems", "format", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
}  # fmt: skip


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
def test_schema_is_structural(kind: ResourceType) -> None:
    for path, node, in_list in _nodes(kind_schema(kind)):
        assert set(node) <= _WORDS, (path, set(node) - _WORDS)
        assert ("type" in node) != bool(
            node.get("x-kubernetes-int-or-string")
        ) or "x-kubernetes-preserve-unknown-fields" in node, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert not (in_list and "default" in node), f"{path}: a default inside a list item"
        assert set(node.get("required", ())) <= set(node.get("properties", {})), path
        assert node.get("type") != "array" or "items" in node, path
        if (listing := node.get("x-kubernetes-list-type")) == "map":
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path
        elif listing == "set":
            assert node["items"]["type"] in ("string", "integer"), path


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
def test_selectable_fields_and_columns_exist(kind: ResourceType) -> None:
    version = crd(kind)["spec"]["versions"][0]
    known = {path: node for path, node, _ in _nodes(version["schema"]["openAPIV3Schema"])}
    for each in version.get("selectableFields", ()):
        assert known[each["jsonPath"]]["type"] == "string"
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[")[0]
        assert path in known or path.startswith(".metadata.")


_FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SCHEMAS = {kind.kind: kind_schema(kind) for kind in OURS}
for _schema in _SCHEMAS.values():
    _schema["properties"]["metadata"] = _FREE


def _filled(value: Any, schema: dict[str, Any]) -> Any:
    """apiextensions' structural defaulting."""
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name not in value and "default" in part:
                value[name] = copy.deepcopy(part["default"])
            if name in value:
                _filled(value[name], part)
    if isinstance(value, list):
        for item in value:
            _filled(item, schema.get("items", {}))
    return value


_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def _wrong(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What an API server would say of a value."""
    if not schema:
        return
    wanted = schema.get("type")
    if wanted and (not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        yield f"{path} is no {wanted}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} not in enum"
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path} out of bounds"
    if isinstance(value, dict):
        yield from (f"{path}.{name} missing" for name in schema.get("required", ()) if name not in value)
        free = "additionalProperties" in schema or "x-kubernetes-preserve-unknown-fields" in schema
        for name, item in value.items():
            part = schema.get("properties", {}).get(name)
            if part is None and not free:
                yield f"{path}.{name} unknown"
            yield from _wrong(item, part or {}, f"{path}.{name}")
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _wrong(item, schema.get("items", {}), f"{path}[{at}]")


@pytest.mark.parametrize("case", TWINS, ids=lambda case: case.name)
def test_cluster_takes_what_admission_takes_and_fills_it_alike(case: Hostile) -> None:
    kind = by_kind(case.twin["kind"])
    assert kind is not None
    schema = _SCHEMAS[kind.kind]
    stored = admit(case.twin)
    assert list(_wrong(stored, schema)) == []
    given = {key: value for key, value in copy.deepcopy(case.twin).items() if value is not None}
    assert _filled(given, schema) == stored


def test_node_name_rule() -> None:
    kind = by_kind("Container")
    assert kind is not None
    rules = kind_schema(kind)["properties"]["spec"]["x-kubernetes-validations"]
    assert "nodeName" in rules[0]["rule"]


def test_reference_names_every_kind_and_marks_what_is_not_there() -> None:
    text = page()
    for kind in TYPES:
        assert f"## {kind.kind}\n" in text
    assert "| `ports` | | *Not supported yet.*" in text
    assert "| `memory` | Quantity | Bytes, at least 6Mi." in text


def test_links_of_the_reference_lead_somewhere() -> None:
    text = page()
    anchors = {
        "".join(c for c in line.lstrip("# ").lower() if c.isalnum() or c in " -").replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert links <= anchors
