#!/usr/bin/env bash
# Everything. Its jobs run three at a time, for two cores: those with real servers mostly wait.
#
#   scripts/test.sh            all jobs; a job's log is shown when it has failed, its end otherwise
#   scripts/test.sh job NAME   one of them
#
# Coverage is that of the unit tests, all of them together. What takes long and says nothing of it
# runs without: servers as processes, hundreds of seeds and kills, thousands of hostile inputs.
set -euo pipefail
cd "$(dirname "$0")/.."

py=.venv/bin/python
apart=(tests/actors tests/exchange tests/house)

# suite ARGUMENTS…: a part of the suite
suite() {
    "$py" -m pytest -q -p no:cacheprovider "$@"
}

# covered NAME ARGUMENTS…: the same, under coverage
covered() {
    COVERAGE_FILE=".coverage.$1" suite -m "not e2e and not simulation and not adversary" \
        --cov --cov-report= --cov-fail-under=0 "${@:2}"
}

job() {
    case $1 in
    e2e) suite -m "e2e and not simulation and not adversary" ;;
    unit) covered unit "${apart[@]/#/--ignore=}" ;;
    core) covered core "${apart[@]}" ;;
    lint | scan) make --no-print-directory "$1" ;;
    python-3.13) scripts/test-313.sh ;;
    simulation) suite -m simulation ;;
    adversary) suite -m adversary ;;
    *)
        echo "There is no job $1." >&2
        return 2
        ;;
    esac
}

# logged NAME: run the job, and show what it said; the last 25 lines if it went well
logged() {
    local log="$logs/$1" began=$SECONDS failed=0
    job "$1" >"$log" 2>&1 || failed=$?
    local head="==> $1: passed"
    [ "$failed" = 0 ] || head="==> $1: FAILED ($failed)"
    {
        printf '\n%s, %d s\n' "$head" $((SECONDS - began))
        if [ "$failed" = 0 ]; then tail -n 25 "$log"; else cat "$log"; fi
    } >"$log.told"
    cat "$log.told" # in one piece: others speak at the same time
    return "$failed"
}

if [ "${1:-}" = job ]; then
    job "$2"
    exit
elif [ "${1:-}" = logged ]; then
    logged "$2"
    exit
fi

rm -f .coverage .coverage.*
logs=$(mktemp -d)
export logs
trap 'rm -rf "$logs"' EXIT
echo "==> The suite, lint, scans, Python 3.13, the simulator and hostile inputs, three at a time"
failed=0
# the longest first
printf '%s\n' e2e adversary unit simulation core lint python-3.13 scan |
    xargs -P 3 -n 1 scripts/test.sh logged || failed=$?
echo
echo "==> Coverage"
uncovered=0
"$py" -m coverage combine -q .coverage.* && "$py" -m coverage report || uncovered=$?
exit $((failed != 0 ? 1 : uncovered))
