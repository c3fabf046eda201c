#!/usr/bin/env bash
# The fast gate: format, lint, types, import contracts, generated files unchanged, the wheel built, its content tested.
set -euo pipefail
bin=.venv/bin
say() { printf '\n== %s\n' "$*"; }

say format and lint
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/ruff" check --config tools/clockless.toml state controllers
say types
"$bin/mypy"
say import contracts
"$bin/lint-imports"
say generated files
"$bin/python" protos/generate.py --check
"$bin/python" -m setpoint.generate --check
"$bin/python" -m setpoint.cli.reference --check
say sizes
"$bin/python" tools/sizes.py
say the wheel, and the unit tests against it
"$bin/pytest" -q tests/packaging
