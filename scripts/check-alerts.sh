#!/usr/bin/env bash
# Check docs/alerts.yml with promtool: the one that is there, else that of Debian's package
# prometheus, which is fetched and not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
        echo "scripts/check-alerts.sh needs promtool, which comes with Prometheus." >&2
        exit 1
    }
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    (cd "$place" && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb .) || {
        echo "Debian's package prometheus cannot be fetched: run apt-get update, or install promtool." >&2
        exit 1
    }
    promtool=$place/usr/bin/promtool
fi
"$promtool" check rules docs/alerts.yml
