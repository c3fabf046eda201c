"""Selectors in kubectl's syntax."""

from __future__ import annotations

import pytest

from state.errors import BadRequest
from state.selectors import field_value, matches, parse_fields, parse_labels


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a = b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b, c)", {"a": "d"}, False),
        ("a in ()", {"a": ""}, True),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a notin (b,c)", {}, True),
        ("a", {"a": "x"}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("! a", {"a": "x"}, False),
        ("example.com/a=b,x in (1,2),!z", {"example.com/a": "b", "x": "2"}, True),
        ("example.com/a=b,x in (1,2),!z", {"example.com/a": "b", "x": "2", "z": ""}, False),
        ("in=b", {"in": "b"}, True),
    ],
)
def test_labels(text: str, labels: dict[str, str], expected: bool) -> None:
    assert matches(parse_labels(text), labels) is expected


@pytest.mark.parametrize("text", ["=", "a=b=c", "a b", "a in b", "a in (b", "a,,b", "a=" + "x" * 64, "-a", "a=_", "a>1", ","])
def test_labels_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadRequest, match="label selector"):
        parse_labels(text)


def test_fields() -> None:
    chosen = parse_fields("metadata.name=x,status.phase!=Up", {"metadata.name", "status.phase"})
    assert matches(chosen, {"metadata.name": "x", "status.phase": "Down"})
    assert not matches(chosen, {"metadata.name": "x", "status.phase": "Up"})


def test_fields_that_are_not_supported() -> None:
    with pytest.raises(BadRequest, match=r"field label not supported: spec\.x"):
        parse_fields("spec.x=1", {"metadata.name"})
    with pytest.raises(BadRequest, match="cannot read"):
        parse_fields("metadata.name", {"metadata.name"})


def test_the_value_of_a_field() -> None:
    obj = {"spec": {"on": True, "n": 3, "s": "x"}}
    assert [field_value(obj, path) for path in ("spec.on", "spec.n", "spec.s", "spec.none", "spec.s.deep")] == [
        "true",
        "3",
        "x",
        "",
        "",
    ]
