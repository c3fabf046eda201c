"""Label and field selectors in kubectl's syntax."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from state.errors import BadRequest
from state.objects import Object

Operator = Literal["in", "notin", "exists", "absent"]

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY = rf"({_NAME}/)?{_NAME}"
_VALUE = re.compile(rf"({_NAME})?")
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(rf"(?P<key>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>[^=!,()\s]*)")
_EXISTS = re.compile(rf"(?P<op>!?)\s*(?P<key>{_KEY})")
_FIELD = re.compile(r"(?P<key>[^=!\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term: ``key`` stands in relation ``operator`` to ``values``. An absent key satisfies ``notin``."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, facts: Mapping[str, str]) -> bool:
        value = facts.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None


Selector = tuple[Requirement, ...]
"""All of them must hold; the empty one selects everything."""


def matches(selector: Selector, facts: Mapping[str, str]) -> bool:
    """Whether labels (or fields) satisfy every requirement."""
    return all(requirement.matches(facts) for requirement in selector)


def parse_labels(text: str) -> Selector:
    """``a=b,c!=d,e in (x,y),f notin (z),g,!h``. Raises BadRequest."""
    return tuple(_label_term(term) for term in _split(text))


def parse_fields(text: str, supported: Collection[str]) -> Selector:
    """``metadata.name=x,status.phase!=Running``. Raises BadRequest for other fields than ``supported``."""
    return tuple(_field_term(term, supported) for term in _split(text))


def field_value(obj: Object, path: str) -> str:
    """The value of a selectable field as text; a missing one is empty, as in Kubernetes."""
    value: Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split(text: str) -> list[str]:
    """The terms between commas that are not inside parentheses."""
    if not text.strip():
        return []
    terms, depth, term = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            terms.append(term.strip())
            term = ""
        else:
            term += char
    return [*terms, term.strip()]


def _label_term(term: str) -> Requirement:
    if found := _SET.fullmatch(term):
        values = [value.strip() for value in found["values"].split(",")]
        _check_values(term, values)
        return Requirement(found["key"], "in" if found["op"] == "in" else "notin", frozenset(values))
    if found := _EQUAL.fullmatch(term):
        _check_values(term, [found["value"]])
        return Requirement(found["key"], "notin" if found["op"] == "!=" else "in", frozenset([found["value"]]))
    if found := _EXISTS.fullmatch(term):
        return Requirement(found["key"], "absent" if found["op"] else "exists")
    raise BadRequest(f"label selector: cannot read {term!r}; the forms are a=b, a!=b, a in (b,c), a notin (b,c), a, !a")


def _check_values(term: str, values: Collection[str]) -> None:
    for value in values:
        if len(value) > 63 or not _VALUE.fullmatch(value):
            raise BadRequest(f"label selector: {value!r} in {term!r} is no label value")


def _field_term(term: str, supported: Collection[str]) -> Requirement:
    found = _FIELD.fullmatch(term)
    if not found:
        raise BadRequest(f"field selector: cannot read {term!r}; the forms are a=b and a!=b")
    if found["key"] not in supported:
        raise BadRequest(f"field label not supported: {found['key']}")
    return Requirement(found["key"], "notin" if found["op"] == "!=" else "in", frozenset([found["value"].strip()]))
