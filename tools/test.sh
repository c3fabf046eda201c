#!/usr/bin/env bash
# The whole suite, stage by stage, each with its time; then what ran is counted. Stops at the end, not at the first failure.
set -uo pipefail
bin=.venv/bin
reports=.cache/reports
rm -rf "$reports" && mkdir -p "$reports"
failed=()

stage() { # NAME FOLDER [PYTEST OPTION...]
  local name=$1 folder=$2 began=$SECONDS
  shift 2
  printf '\n== %s\n' "$name"
  "$bin/pytest" -q "$folder" --junitxml="$reports/$name.xml" -o junit_family=xunit1 "$@" || failed+=("$name")
  printf -- '-- %s: %d s\n' "$name" $((SECONDS - began))
}

printf '== containerd 2.4.2\n'
tests/parts/containerd2.sh || exit 1
stage unit tests/unit
stage simulation tests/simulation
stage contract tests/contract
stage integration tests/integration
stage e2e tests/e2e -m "not vm"
if [ "${SETPOINT_VM:-1}" = 1 ]; then
  tools/parts.sh vm && stage vm tests/e2e -m vm
fi

printf '\n== what ran, in %d s\n' "$SECONDS"
"$bin/python" tools/count.py "$reports"/*.xml || failed+=(counts)
[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[*]}"; exit 1; }
