#!/usr/bin/env bash
# Pins the dependencies by version and hash. Both files hold names, versions and hashes, never an address.
set -euo pipefail
bin=.venv/bin
"$bin/pip" install --quiet --disable-pip-version-check pip-tools
common=(--quiet --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate
  --strip-extras --build-deps-for editable)
"$bin/pip-compile" "${common[@]}" -o constraints.txt pyproject.toml
"$bin/pip-compile" "${common[@]}" --extra dev -o constraints-dev.txt pyproject.toml
