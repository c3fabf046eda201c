"""Reports the shape of the code: lines of functions and modules, median, 95th percentile and the longest. A report, no gate."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from statistics import median

PACKAGES = ("state", "controllers", "setpoint")


def functions(tree: ast.AST) -> list[tuple[int, str]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [((node.end_lineno or 0) - node.lineno + 1, node.name) for node in ast.walk(tree) if isinstance(node, kinds)]


def row(title: str, sizes: list[tuple[int, str]]) -> str:
    ordered = sorted(sizes)
    p95 = ordered[int(len(ordered) * 0.95)][0]
    longest = ", ".join(f"{name} {lines}" for lines, name in reversed(ordered[-3:]))
    return f"{title:10} n={len(ordered):5}  median {median(size for size, _ in ordered):5.0f}  p95 {p95:4}  longest {longest}"


def main() -> None:
    files = [p for package in PACKAGES for p in Path(package).rglob("*.py") if "_pb" not in p.parts]
    texts = {path: path.read_text() for path in files}
    found = [f for path, text in texts.items() for f in functions(ast.parse(text))]
    sys.stdout.write(row("functions", found) + "\n")
    sys.stdout.write(row("modules", [(len(text.splitlines()), str(path)) for path, text in texts.items()]) + "\n")


if __name__ == "__main__":
    main()
