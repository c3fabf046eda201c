"""What reaches the terminal: plain text, tables, YAML and JSON. Colour only where a person looks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from setpoint.ages import human_duration
from state.clock import moment
from state.objects import Object

_GAP = "   "
_GOOD, _BAD, _BUSY, _DIM = "32", "31", "33", "2"
_COLOURS = {
    **dict.fromkeys(("Running", "True", "Active", "ok", "created", "True/Started"), _GOOD),
    **dict.fromkeys(("Dead", "Unknown", "False", "Warning", "error", "OOMKilled", "Error", "deleted", "pruned"), _BAD),
    **dict.fromkeys(("Pending", "Restarting", "Removing", "Paused", "warning", "configured"), _BUSY),
    **dict.fromkeys(("Exited", "Created", "unchanged", "Completed"), _DIM),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def colourful(stream: TextIO) -> bool:
    """Whether colour is wanted on this stream: a terminal, no ``NO_COLOR`` (no-color.org), not a dumb one."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, word: str = "", *, stream: TextIO | None = None) -> str:
    """``text`` in the colour of ``word`` (itself by default)."""
    code = _COLOURS.get(word or text)
    return f"\x1b[{code}m{text}\x1b[0m" if code and colourful(stream or sys.stdout) else text


def out(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line for people, on stderr."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def safe(text: str) -> str:
    """Without control characters: names and messages come from others."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return safe(str(value)).replace("\n", " ")


class Table:
    """Columns as wide as their widest cell; rows that come later keep the widths of the first ones."""

    def __init__(self, head: Sequence[str]) -> None:
        self._head = [word.upper() for word in head]
        self._widths: list[int] = []
        self._headed = False

    def show(self, rows: Iterable[Sequence[Any]], *, head: bool = True) -> None:
        """Prints them; the head only the first time."""
        texts = [[cell(value) for value in row] for row in rows]
        shown = [self._head, *texts] if head and not self._headed else texts
        self._headed = True
        for number in range(len(self._head)):
            width = max((len(row[number]) for row in shown), default=0)
            if number < len(self._widths):
                self._widths[number] = max(self._widths[number], width)
            else:
                self._widths.append(width)
        for row in shown:
            out(self._line(row, plain=row is self._head))
        sys.stdout.flush()

    def _line(self, row: Sequence[str], *, plain: bool) -> str:
        words = []
        for number, text in enumerate(row):
            pad = "" if number == len(row) - 1 else " " * (self._widths[number] - len(text))
            words.append((text if plain else paint(text)) + pad)
        return _GAP.join(words).rstrip()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    Table(head).show(rows)


def yaml_text(value: Any) -> str:
    """YAML as people write it: keys in their order, long texts as blocks."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    Dumper.add_representer(str, text)
    dumped: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return dumped


def json_text(value: Any) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def size(amount: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def age(text: object, now: datetime | None = None) -> str:
    """How long ago, as kubectl writes it (``90s``, ``5m30s``, ``3h``); ``-`` for what is no time."""
    at = moment(text)
    if at is None:
        return "-"
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    return f"in {span(-seconds)}" if seconds <= -1 else span(seconds)


def span(seconds: float) -> str:
    """As :func:`human_duration`; what is over already takes no time."""
    return human_duration(max(0.0, seconds))


def named(obj: Object) -> str:
    """``container/web``, ``container/prod/web`` outside namespace default."""
    from state.resources.types import by_kind

    meta, kind = obj.get("metadata") or {}, by_kind(str(obj.get("kind", "")))
    word = kind.singular if kind else str(obj.get("kind", "")).lower()
    namespace = meta.get("namespace", "")
    return safe("/".join(filter(None, (word, namespace if namespace != "default" else "", meta.get("name", "")))))
