"""The part of kubectl's JSONPath templates that people use: paths, ``[*]``, indexes, slices, filters, range and quoted text."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from state.errors import BadRequest

_STEP = re.compile(
    r"""
    \.?\[\?\(\s*@(?P<filter>[^=!<>)]+?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|[^)]+?)\s*)?\)\]
  | \.?\[(?P<index>-?\d+)\]
  | \.?\[(?P<start>-?\d*):(?P<stop>-?\d*)\]
  | \.?(?P<all>\[\*\]|(?<=\.)\*)
  | \.?\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
  | \.?(?P<name>(?:\\.|[^.\[\]\\\s])+)
    """,
    re.VERBOSE,
)
_TAG = re.compile(r"\{((?:\"(?:\\.|[^\"])*\"|'(?:\\.|[^'])*'|[^}\"'])*)\}")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def find(obj: Any, path: str) -> list[Any]:
    """Every value at ``path`` (``.status.phase``, ``.items[*].metadata.name``). Raises BadRequest for what is no path."""
    found, at = [obj], 0
    path = path.strip().removeprefix("$").removeprefix("@")
    while at < len(path) and path[at:] != ".":
        step = _STEP.match(path, at)
        if step is None or step.end() == at:
            raise BadRequest(f"JSONPath {path!r}: cannot read {path[at:]!r}; the form is {{.status.phase}}")
        found = [value for each in found for value in _take(each, step)]
        at = step.end()
    return found


def _take(value: Any, step: re.Match[str]) -> Iterator[Any]:
    rows = value if isinstance(value, list) else []
    if step["filter"] is not None:
        yield from (row for row in rows if _holds(row, step["filter"], step["op"], step["value"]))
    elif step["index"] is not None:
        at = int(step["index"])
        yield from rows[at : at + 1 or None]
    elif step["start"] is not None:
        yield from rows[int(step["start"] or 0) : int(step["stop"]) if step["stop"] else None]
    elif step["all"]:
        yield from value.values() if isinstance(value, dict) else rows
    elif isinstance(value, dict):
        name = step["quoted"] if step["quote"] else re.sub(r"\\(.)", r"\1", step["name"])
        if name in value:
            yield value[name]


def _holds(row: Any, path: str, op: str | None, wanted: str | None) -> bool:
    values = find(row, path)
    if op is None or wanted is None:
        return bool(values)
    try:
        right = json.loads(wanted) if wanted[:1] != "'" else wanted.strip("'")
    except ValueError:
        right = wanted
    try:
        return any(_OPERATORS[op](value, right) for value in values)
    except TypeError:
        return False


def render(template: str, obj: Any) -> str:
    """The template with every ``{…}`` replaced; a bare path is taken too. What is not there is empty."""
    if "{" not in template:
        template = "{" + template + "}"
    parts = _TAG.split(template)
    text, at = _block(parts, 0, obj)
    if at < len(parts):
        raise BadRequest(f"JSONPath {template!r}: {{end}} without {{range}}")
    return text


def _block(parts: list[str], at: int, obj: Any) -> tuple[str, int]:
    """The text up to the matching ``{end}``, and where to go on. Odd parts are tags."""
    text = ""
    while at < len(parts):
        word = parts[at]
        if at % 2 == 0:
            text += word
        elif word.strip() == "end":
            return text, at + 1
        elif word.strip().startswith("range "):
            rows = find(obj, word.strip()[6:]) or [None]
            done = [_block(parts, at + 1, row) for row in rows]
            text += "".join(part for part, _ in done) if rows != [None] else ""
            at = done[0][1] - 1
        elif word.strip()[:1] in "\"'" and word.strip():
            text += _unquoted(word.strip())
        else:
            text += " ".join(_shown(value) for value in find(obj, word))
        at += 1
    return text, at


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), word[1:-1])


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
