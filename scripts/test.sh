#!/usr/bin/env bash
# Everything: the suite on one core, and beside it lint, scans, Python 3.13, and what takes long and
# says nothing of coverage: hundreds of seeds and kills, thousands of hostile inputs.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
set -m # what runs beside is a process group, and ends as one
{
    make --no-print-directory lint scan && scripts/test-313.sh &&
        .venv/bin/python -m pytest -m "simulation or adversary" -q -p no:cacheprovider
} >"$log" 2>&1 &
beside=$!
set +m
trap 'kill -- -"$beside" 2>/dev/null || true; rm -f "$log"' EXIT

echo "==> The suite: unit part, then end to end"
failed=0
.venv/bin/python -m pytest -m "not simulation and not adversary" --cov --cov-report=term || failed=$?
beside_failed=0
wait "$beside" || beside_failed=$?
echo "==> Beside it: lint, scans, Python 3.13, hundreds of seeds, hostile inputs"
cat "$log"
exit $((failed != 0 ? failed : beside_failed))
