#!/usr/bin/env bash
# Run what meets the outside on Python 3.13 too, in an environment of its own, where that Python is
# found: quart and quart-trio are other releases there, and so are sqlite3 and ssl.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh

if [ -x .venv/bin/python ] && runs_as .venv/bin/python "v == (3, 13)"; then
    echo "==> Skipped: a second run on Python 3.13, which .venv already is."
    exit 0
fi
if ! python=$(find_version 3.13) || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "==> Skipped: the unit tests on Python 3.13, because none was found that runs."
    exit 0
fi
scripts/env.sh dev .venv313 "$python"
echo "==> Unit tests of the store, the house and HTTP on $("$python" -V)"
# What is pure is the same everywhere: this is what those releases can change.
exec .venv313/bin/python -m pytest -m "not e2e and not simulation and not adversary" -q \
    -p no:cacheprovider tests/house tests/store tests/http/upstream \
    tests/http/test_{application,asgi,connection,dashboard_socket,events,hooks,logs,serving,websocket_wire}.py
