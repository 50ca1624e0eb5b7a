#!/usr/bin/env bash
# Everything: the whole suite on one core, and beside it lint, scans and the unit part on Python 3.13.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
set -m # what runs beside is a process group, and ends as one
{ make --no-print-directory lint scan && scripts/test-313.sh; } >"$log" 2>&1 &
beside=$!
set +m
trap 'kill -- -"$beside" 2>/dev/null || true; rm -f "$log"' EXIT

echo "==> The whole suite: unit part, then end to end"
failed=0
.venv/bin/python -m pytest --cov --cov-report=term || failed=$?
beside_failed=0
wait "$beside" || beside_failed=$?
echo "==> Beside it: lint, scans, and the unit part on Python 3.13"
cat "$log"
exit $((failed != 0 ? failed : beside_failed))
