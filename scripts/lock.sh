#!/usr/bin/env bash
# Write requirements/*.txt anew from pyproject.toml: exact versions with hashes, for every
# supported Python and platform. Arguments go to `uv pip compile`, e.g. --upgrade.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v uv >/dev/null || {
    echo "make lock needs uv (https://docs.astral.sh/uv/); nothing else does." >&2
    exit 1
}

compile() {
    local target=$1
    shift
    # --no-strip-extras: where a package asks for another one's extra, pip takes a line without the
    # extra for a different package, and refuses it once a newer release is out.
    # --no-config and the cleared variables: the lock must not depend on this machine's set-up
    env -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_FIND_LINKS \
        uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-strip-extras --no-emit-index-url --no-emit-find-links --no-header --output-file "$target" \
        pyproject.toml requirements/build.in "$@" >/dev/null
    local body
    body=$(cat "$target")
    printf '# Locked by `make lock`; do not edit.\n%s\n' "$body" >"$target"
    echo "$target: $(grep -c '==' "$target") packages"
}

# The larger ones are held to the versions of the smaller ones.
compile requirements/app.txt "$@"
compile requirements/demo.txt --extra demo --constraints requirements/app.txt "$@"
compile requirements/dev.txt --extra demo --group test --group lint \
    --constraints requirements/demo.txt "$@"
