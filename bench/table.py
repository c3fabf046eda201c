"""Rows of the table: paired ratios with their spread, against a goal."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """``values``: paired ratios, or what was counted or measured, each compared with ``goal`` (at most)."""

    key: str
    title: str
    unit: str
    goal: float | None
    values: Sequence[float]
    note: str = ""
    raw: dict[str, list[float]] = field(default_factory=dict)
    """name -> what was measured on this machine; for the JSON file only."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "ok" if self.median <= self.goal else "MISS"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, float]:
    """10th and 90th percentile; of few values, the least and the greatest."""
    if len(values) < 10:
        return min(values), max(values)
    tenths = statistics.quantiles(values, n=10)
    return tenths[0], tenths[-1]


def line(row: Row) -> str:
    low, high = spread(row.values)
    goal = "" if row.goal is None else f"<= {row.goal:g}"
    around = f"{low:.2f}..{high:.2f}" if len(row.values) > 1 else ""
    counted = f"n={len(row.values)}"
    figures = f"{row.median:>9.2f} {row.unit:<6} {around:>14}  {counted:<6} {goal:>8} {row.verdict:<4}"
    return f"{row.title:<60} {figures} {row.note}".rstrip()


def header() -> str:
    return f"{'what':<60} {'median':>9} {'':<6} {'p10..p90':>14}  {'':<6} {'goal':>8}"


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()}
    shown = [{**asdict(row), "median": row.median, "spread": spread(row.values), "verdict": row.verdict} for row in rows]
    path.write_text(json.dumps({"host": machine, "rows": shown}, indent=1) + "\n")
