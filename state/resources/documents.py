"""From text to objects: YAML and JSON files as people write them, read safely.

Nothing is constructed but maps, lists and scalars; tags of any other type, endless aliases and doubled keys are refused with
their line. Booleans and numbers are those of YAML 1.1 without its sexagesimal ones (``22:22`` stays a text); times stay texts;
keys stay as they are typed.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from state.errors import BadRequest, Cause, TooLarge
from state.objects import Object

TEXT_BYTES = 64 * 1024 * 1024
_DEEPEST = 72
_MOST_NODES = 2_000_000
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset({"str", "int", "float", "bool", "null"})
COMPOSE_HINT = "this is a compose file: write one object of kind Container per service, its fields under spec"


@dataclass(frozen=True, slots=True)
class Document:
    """One object and where it stands. ``line`` counts from 1; items of a List have the line of the List."""

    object: Object
    source: str
    line: int


def read(text: str | bytes, source: str = "-") -> list[Document]:
    """All objects of a file, Lists expanded, empty documents left out.

    Raises BadRequest whose causes have ``source:line`` as field, TooLarge for more than 64 MiB.
    """
    if len(text) > TEXT_BYTES:
        raise TooLarge(f"{source} is larger than {TEXT_BYTES} bytes")
    plain = _decoded(text, source)
    found = list(_documents(plain, source))
    documents = [each for value, line in found for each in _expanded(value, source, line)]
    if not documents:
        raise _refusal(source, 1, "there is no object in it")
    return documents


def parse_json(text: str | bytes, *, strict: bool = True) -> Any:
    """One JSON value. Raises BadRequest for what is no JSON, NaN, too deep nesting and, when strict, doubled fields."""
    doubled: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items):
            seen: set[str] = set()
            doubled.extend(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return made

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deep") from None
    except ValueError as exc:
        raise BadRequest(f"the body is not valid JSON: {exc}") from None
    if doubled and strict:
        causes = [Cause(key[:80], "duplicate field: keep one of them") for key in doubled[:20]]
        raise BadRequest(f'strict decoding error: duplicate field "{doubled[0][:80]}"', causes=causes)
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _decoded(text: str | bytes, source: str) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = text[: exc.start].count(b"\n") + 1
        raise _refusal(source, line, f"is not valid UTF-8 (byte {exc.start})") from None


def _documents(text: str, source: str) -> Iterator[tuple[Any, int]]:
    if text.lstrip()[:1] == "{":
        try:
            json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            pass  # may be YAML in flow style; if it is neither, YAML's message has the line
        else:
            yield _json_document(text, source)
            return
    try:
        yield from _Reader(text, source).documents()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise _refusal(source, mark.line + 1 if mark else 1, _problem(exc)) from None
    except yaml.YAMLError as exc:
        raise _refusal(source, 1, " ".join(str(exc).split())[:200]) from None


def _problem(exc: yaml.MarkedYAMLError) -> str:
    text = f"{exc.problem or 'is not valid YAML'}"
    if "cannot start any token" in text or "tab character" in text:
        text += " (YAML is indented with spaces, not tabs)"
    return text


def _json_document(text: str, source: str) -> tuple[Any, int]:
    try:
        return parse_json(text), 1
    except BadRequest as exc:
        raise BadRequest(f"{source}: {exc.message}", causes=[Cause(source, str(each)) for each in exc.causes]) from None


def _expanded(value: Any, source: str, line: int) -> Iterator[Document]:
    if value is None:
        return
    if not isinstance(value, dict):
        raise _refusal(source, line, f"an object has fields such as apiVersion and kind; this is {type(value).__name__}")
    kind = value.get("kind")
    if kind is None and isinstance(value.get("services"), dict):
        raise _refusal(source, line, COMPOSE_HINT)
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list)):
        yield Document(value, source, line)
        return
    for item in value["items"]:
        if isinstance(item, dict) and kind != "List":
            item = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List"), **item}
        yield from _expanded(item, source, line)


def _refusal(source: str, line: int, message: str) -> BadRequest:
    where = f"{source}:{line}"
    return BadRequest(f"{where}: {message}", causes=[Cause(where, message)])


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    nodes: int
    depth: int


class _Reader:
    """Builds values from the parser's events, so that nothing of the file's own is ever constructed or recursed into."""

    def __init__(self, text: str, source: str) -> None:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML without libyaml has the slow one only
        self._parser: Any = loader(text)
        self._resolver: Any = Resolver()
        self._source = source
        self._anchors: dict[str, _Anchored] = {}
        self._nodes = 0

    def documents(self) -> Iterator[tuple[Any, int]]:
        """Each document and the line of its first node."""
        while not isinstance(event := self._parser.get_event(), StreamEndEvent):
            if isinstance(event, StreamStartEvent):
                continue
            if isinstance(event, DocumentStartEvent):
                self._anchors.clear()
                first = self._parser.get_event()
                line = first.start_mark.line + 1
                value, _ = self._value(first, 1)
                yield value, line

    def _value(self, event: Any, depth: int) -> tuple[Any, int]:
        """The value that begins with ``event``, and how deep it is."""
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            return self._alias(str(event.anchor), depth, line)
        if depth > _DEEPEST:
            raise _refusal(self._source, line, f"nested deeper than {_DEEPEST} levels")
        before = self._nodes
        self._count(1, line)
        deep = 1
        value: Any
        if isinstance(event, ScalarEvent):
            value = self._scalar(event, line)
        elif isinstance(event, SequenceStartEvent):
            self._plain_tag(event, "seq", line)
            value, deep = self._sequence(depth)
        else:
            self._plain_tag(event, "map", line)
            value, deep = self._mapping(depth)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, self._nodes - before, deep)
        return value, deep

    def _alias(self, name: str, depth: int, line: int) -> tuple[Any, int]:
        anchored = self._anchors.get(name)
        if anchored is None:
            raise _refusal(self._source, line, f"*{name[:40]} is not defined before")
        if depth + anchored.depth > _DEEPEST:
            raise _refusal(self._source, line, f"nested deeper than {_DEEPEST} levels")
        self._count(anchored.nodes, line)
        return copy.deepcopy(anchored.value), anchored.depth

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > _MOST_NODES:
            raise _refusal(self._source, line, "too large once its aliases are followed")

    def _sequence(self, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        deepest = 0
        while not isinstance(event := self._parser.get_event(), SequenceEndEvent):
            value, deep = self._value(event, depth + 1)
            values.append(value)
            deepest = max(deepest, deep)
        return values, deepest + 1

    def _mapping(self, depth: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        merged: list[Any] = []
        deepest = 0
        while not isinstance(event := self._parser.get_event(), MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, ScalarEvent):
                raise _refusal(self._source, line, "a key must be a plain word")
            value, deep = self._value(self._parser.get_event(), depth + 1)
            deepest = max(deepest, deep)
            if event.value == "<<" and event.implicit[0] and event.tag is None:
                merged += value if isinstance(value, list) else [value]
            elif event.value in values:
                raise _refusal(self._source, line, f'duplicate key "{event.value[:80]}": keep one of them')
            else:
                values[event.value] = value
        for each in merged:
            if not isinstance(each, dict):
                raise _refusal(self._source, line, "<< takes a map or a list of maps")
            values.update((key, value) for key, value in each.items() if key not in values)
        return values, deepest + 1

    def _plain_tag(self, event: Any, name: str, line: int) -> None:
        if event.tag not in (None, "!", _TAG + name):
            raise self._refused_tag(event.tag, line)

    def _refused_tag(self, tag: str, line: int) -> BadRequest:
        return _refusal(self._source, line, f'the tag "{tag[:80]}" is not allowed: only plain values')

    def _scalar_tag(self, event: Any, line: int) -> str:
        if event.tag is None:
            return str(self._resolver.resolve(ScalarNode, event.value, event.implicit)).removeprefix(_TAG)
        if event.tag == "!":
            return "str"
        tag: str = event.tag.removeprefix(_TAG) if event.tag.startswith(_TAG) else ""
        if tag not in _SCALARS:
            raise self._refused_tag(event.tag, line)
        return tag

    def _scalar(self, event: Any, line: int) -> Any:
        text: str = event.value
        tag = self._scalar_tag(event, line)
        if tag == "null":
            return None
        if tag == "bool" and text.lower() in SafeConstructor.bool_values:
            return SafeConstructor.bool_values[text.lower()]
        if tag == "int":
            return self._integer(text, line)
        if tag == "float":
            return self._number(text, line)
        return text

    def _integer(self, text: str, line: int) -> int | str:
        digits = text.replace("_", "").lower()
        if ":" in digits:
            return text
        sign, body = (-1, digits[1:]) if digits.startswith("-") else (1, digits.removeprefix("+"))
        base = {"0x": 16, "0b": 2, "0o": 8}.get(body[:2]) or (8 if len(body) > 1 and body.startswith("0") else 10)
        if len(body) > 70:
            raise _refusal(self._source, line, "the number is beyond 64 bits")
        try:
            return sign * int(body, base)
        except ValueError:
            raise _refusal(self._source, line, f'"{text[:40]}" is no integer') from None

    def _number(self, text: str, line: int) -> float | str:
        if ":" in text:
            return text
        try:
            value = float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise _refusal(self._source, line, f'"{text[:40]}" is no number') from None
        if not math.isfinite(value):
            raise _refusal(self._source, line, "NaN and infinity are no JSON numbers")
        return value
