"""Adds up what ran, by kind, from pytest's JUnit reports, and refuses a run in which anything was skipped or too little ran.

``python tools/count.py REPORT...``: the kinds are the folders under ``tests/``. Prints one line per kind and a closing line.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

LEAST = Path(__file__).with_name("counts.toml")


def main(reports: list[str]) -> int:
    ran: Counter[str] = Counter()
    skipped: list[str] = []
    failed = 0
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own report
            kind = case.get("classname", "").split(".")[1] if case.get("classname", "").startswith("tests.") else "?"
            name = f"{case.get('classname')}::{case.get('name')}"
            if case.find("skipped") is not None:
                skipped.append(f"{name}: {case.find('skipped').get('message')}")  # type: ignore[union-attr]
                continue
            failed += case.find("failure") is not None or case.find("error") is not None
            ran[kind] += 1
            marks = {p.get("name") for p in case.iter("property") if p.get("value") == "mark"}
            ran["real"] += bool(marks & {"containerd", "kernel"})
    least = tomllib.loads(LEAST.read_text())
    short = {kind: (ran[kind], number) for kind, number in least.items() if ran[kind] < number}
    for kind, number in least.items():
        print(f"{kind:12} {ran[kind]:6} ran, at least {number}")
    for name in skipped:
        print(f"skipped: {name}")
    for kind, (number, wanted) in short.items():
        print(f"too few: {kind} {number} < {wanted}")
    total = sum(count for kind, count in ran.items() if kind != "real")
    print(f"{total - failed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed or skipped or short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
