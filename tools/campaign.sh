#!/usr/bin/env bash
# The long runs: more seeds, every crash during every recovery, the real SIGKILLs again and again, the booted machine, the bench.
# About two and a half hours on two cores; SETPOINT_STORM_SEEDS, SETPOINT_SWEEP_SECOND and ROUNDS make it shorter or longer.
set -uo pipefail
bin=.venv/bin
export SETPOINT_STORM_SEEDS=${SETPOINT_STORM_SEEDS:-5000} SETPOINT_SWEEP_SECOND=${SETPOINT_SWEEP_SECOND:-10}
failed=0

printf '== %s storms, second crashes at %s calls of each recovery\n' "$SETPOINT_STORM_SEEDS" "$SETPOINT_SWEEP_SECOND"
"$bin/pytest" -q tests/simulation --timeout=0 || failed=1
for round in $(seq "${ROUNDS:-5}"); do
  printf '== round %s of the real kernel\n' "$round"
  "$bin/pytest" -q tests/e2e tests/integration tests/contract -m "not vm" || failed=1
done
"$bin/pytest" -q tests/e2e -m vm || failed=1
"$bin/python" -m bench || failed=1
exit $failed
