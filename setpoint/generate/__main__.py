"""Writes the generated files, or with ``--check`` fails when they differ from what would be written."""

from __future__ import annotations

import sys
from pathlib import Path

from setpoint.generate import reference, schema

ROOT = Path(__file__).resolve().parents[2]


def files() -> dict[str, str]:
    """Every generated file: path from the root of the tree -> text."""
    return {**schema.crd_files(), "docs/api-reference.md": reference.page()}


def differing(root: Path) -> list[str]:
    """Paths whose content is not what would be generated, those that are too many included."""
    wanted = files()
    found = {str(path.relative_to(root)) for path in (root / "crds").glob("*.yaml")}
    stale = [path for path, text in wanted.items() if not (root / path).is_file() or (root / path).read_text() != text]
    return sorted({*stale, *(found - wanted.keys())})


def write(root: Path) -> None:
    """Makes the files of the tree what they should be."""
    for path in differing(root):
        if (text := files().get(path)) is None:
            (root / path).unlink()
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        stale = differing(ROOT)
        for path in stale:
            sys.stderr.write(f"{path} is not as generated: run python -m setpoint.generate\n")
        return 1 if stale else 0
    if arguments:
        sys.stderr.write("usage: python -m setpoint.generate [--check]\n")
        return 2
    write(ROOT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
