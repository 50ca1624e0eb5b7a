#!/usr/bin/env bash
# Make a virtual environment with all that requirements/$SET.txt locks, and llmlb itself.
#
#   scripts/env.sh SET [DIRECTORY] [PYTHON]     SET is app, demo or dev; DIRECTORY is .venv
#
# Does nothing when that is already there and finished. A stamp is written last, so that an
# environment whose installation was interrupted is seen, and repaired by the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh

set_name=$1
directory=${2:-.venv}
wanted_python=${3:-${PYTHON:-}}
lock=requirements/$set_name.txt
stamp=$directory/.installed
log=$directory/install.log

fail() {
    printf '\n%s\n' "$1" >&2
    exit 1
}

# What the environment was made from: when any of it changes, the stamp does not match.
fingerprint() {
    { cat "$lock" pyproject.toml && "$directory/bin/python" -VV && pwd; } | cksum
}

version_of() {
    "$1" -c 'import sys, pip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

works() { # it starts, has pip, and is of the version that was asked for, if one was
    local version
    version=$(version_of "$directory/bin/python") || return 1
    [ -z "$wanted_python" ] || runs_as "$wanted_python" "v == (${version%.*}, ${version#*.})"
}

# dev holds all of demo, and demo all of app: any larger finished set will do.
finished() {
    local larger
    works || return 1
    for larger in app demo dev; do
        case "$set_name $larger" in "demo app" | "dev app" | "dev demo") continue ;; esac
        lock=requirements/$larger.txt
        [ "$(cat "$stamp-$larger" 2>/dev/null)" = "$(fingerprint)" ] && return 0
    done
    lock=requirements/$set_name.txt
    return 1
}

make_environment() {
    local python
    python=$(find_python "$wanted_python") || exit 1
    ensure_venv_module "$python"
    echo "==> Making $directory with $("$python" -V) ($python)"
    rm -rf "$directory"
    "$python" -m venv "$directory" ||
        fail "$python could not make $directory. Is the disk full, or this directory read-only?"
}

install() {
    rm -f "$stamp"-*
    echo "==> Installing requirements/$set_name.txt into $directory (log: $log)"
    local pip=("$directory/bin/python" -m pip --disable-pip-version-check --no-input install)
    : >"$log"
    # The lock holds all that anything in it needs: nothing has to be resolved once more.
    "${pip[@]}" --require-hashes --no-deps -r "$lock" 2>&1 | tee -a "$log" | show_progress ||
        fail "$(reason_of_failure)"
    # The build back end is locked too, so nothing is fetched from here on.
    "${pip[@]}" --no-deps --no-build-isolation --editable . >>"$log" 2>&1 ||
        fail "$(reason_of_own_failure)"
    fingerprint >"$stamp.new"
    mv "$stamp.new" "$stamp-$set_name"
}

show_progress() {
    sed -n -e 's/^ *Downloading \([^ ]*\)\( .*\)\{0,1\}$/    \1\2/p'
}

show_end_of_log() {
    tail -n 12 "$log" | sed 's/^/  | /'
    echo
}

way_out() {
    echo "Then run the same command again; an unfinished environment is repaired."
    echo "To start from nothing: make clean. The whole log is in $log."
}

log_says() {
    grep -qE "$1" "$log"
}

reason_of_failure() {
    show_end_of_log
    if log_says 'No space left on device'; then
        echo "The disk is full. About 600 MB are needed."
    elif log_says 'DO NOT MATCH THE HASHES'; then
        echo "A downloaded package is not the one that was locked. Do not use it: look at your package"
        echo "index or mirror, or, after a wanted change of versions, run: make lock"
    elif log_says 'subprocess-exited-with-error|Failed building wheel|Failed to build'; then
        echo "A package has no ready-made wheel for this machine ($(uname -sm)) and could not be built,"
        echo "most likely because a compiler is missing. On Debian:"
        echo "apt install build-essential cmake python3-dev (and cargo, if the log names Rust)"
    elif log_says 'NewConnectionError|Could not fetch URL|connection broken|Name or service not known|name resolution|ConnectTimeout|ReadTimeout|Connection (refused|reset)|CERTIFICATE_VERIFY_FAILED|ProxyError'; then
        echo "The package index could not be reached. Is this machine online, does it need a proxy?"
    elif log_says 'No matching distribution found'; then
        echo "A locked package does not exist for this Python and this machine ($(uname -sm))."
        echo "llama.cpp's wheels are for Linux and macOS on x86-64 and ARM; make serve needs none."
    else
        echo "The packages could not be installed; the log above says why."
    fi
    way_out
}

reason_of_own_failure() {
    show_end_of_log
    echo "All packages are there, but llmlb itself could not be installed; is the working copy complete?"
    way_out
}

finished && exit 0
works || make_environment
install
