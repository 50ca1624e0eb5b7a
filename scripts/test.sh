#!/usr/bin/env bash
# Everything, on two cores: the suite in two parts under coverage, and after the second of them lint,
# scans, Python 3.13, and what takes long and says nothing of coverage: hundreds of seeds and kills,
# thousands of hostile inputs.
set -euo pipefail
cd "$(dirname "$0")/.."

py=.venv/bin/python
beside=(tests/actors tests/exchange tests/house)
rm -f .coverage .coverage.*

# suite NAME ARGUMENTS…: one part of the suite, whose coverage is judged together with the others'
suite() {
    COVERAGE_FILE=".coverage.$1" "$py" -m pytest -m "not simulation and not adversary" \
        --cov --cov-report= --cov-fail-under=0 -p no:cacheprovider "${@:2}"
}

log=$(mktemp)
set -m # what runs beside is a process group, and ends as one
{
    suite beside -q "${beside[@]}" &&
        make --no-print-directory lint scan && scripts/test-313.sh &&
        "$py" -m pytest -m "simulation or adversary" -q -p no:cacheprovider
} >"$log" 2>&1 &
beside_id=$!
set +m
trap 'kill -- -"$beside_id" 2>/dev/null || true; rm -f "$log"' EXIT

echo "==> The suite: unit part, then end to end"
failed=0
suite main "${beside[@]/#/--ignore=}" || failed=$?
beside_failed=0
wait "$beside_id" || beside_failed=$?
echo "==> Beside it: the core, lint, scans, Python 3.13, hundreds of seeds, hostile inputs"
cat "$log"
echo "==> Coverage"
covered=0
"$py" -m coverage combine -q .coverage.main .coverage.beside && "$py" -m coverage report || covered=$?
exit $((failed != 0 ? failed : beside_failed != 0 ? beside_failed : covered))
