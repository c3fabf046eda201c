#!/usr/bin/env bash
# The fast gate: format, lint, types, import contracts, generated files unchanged, the wheel built, its content tested.
set -euo pipefail
bin=.venv/bin
say() { printf '\n== %s\n' "$*"; }

say format and lint
"$bin/ruff" format --check .
"$bin/ruff" check .
say types
"$bin/mypy"
say import contracts
"$bin/lint-imports"
say generated files
"$bin/python" protos/generate.py --check
"$bin/python" -m setpoint.generate --check
say sizes
"$bin/python" tools/sizes.py
say unit tests and the wheel
"$bin/pytest" -q tests/unit tests/packaging -m "not containerd and not kernel and not vm"
