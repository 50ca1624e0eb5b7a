# Sourced: finds a Python that can run llmlb, and what it lacks to make environments.

OLDEST=3.11

runs_as() { # PYTHON CONDITION: whether it starts at all, and the condition on sys.version_info holds
    "$1" -c "import sys; v = sys.version_info[:2]; sys.exit(not ($2))" >/dev/null 2>&1
}

# pyenv puts a python3.13 on the PATH that fails unless its version is selected, so every
# candidate is run before it is believed.
candidates() { # VERSION: where a Python of that version may be, one a line
    command -v "python$1" || true
    if command -v pyenv >/dev/null 2>&1; then
        ls -d "$(pyenv root)/versions/$1".*/bin/python 2>/dev/null || true
    fi
    if command -v uv >/dev/null 2>&1; then
        uv python find --no-python-downloads "$1" 2>/dev/null || true
    fi
}

find_version() { # VERSION: prints a Python of exactly that version, or fails silently
    local candidate
    while read -r candidate; do
        if runs_as "$candidate" "v == (${1%.*}, ${1#*.})"; then
            echo "$candidate"
            return 0
        fi
    done < <(candidates "$1")
    return 1
}

find_python() { # [WANTED]: prints the Python to use, or says what is missing and fails
    local wanted=${1:-} version found
    if [ -n "$wanted" ]; then
        if runs_as "$wanted" "v >= (3, 11)"; then
            command -v "$wanted"
            return 0
        fi
        echo "PYTHON=$wanted does not run or is older than $OLDEST." >&2
        return 1
    fi
    if runs_as python3 "v >= (3, 11)"; then
        command -v python3
        return 0
    fi
    for version in 3.13 3.12 3.11; do
        if found=$(find_version "$version"); then
            echo "$found"
            return 0
        fi
    done
    echo "llmlb needs Python $OLDEST or newer; python3 here is: $(python3 -V 2>&1 | head -n 1)." >&2
    echo "Install one (Debian 12: apt install python3 python3-venv) or name it: make demo PYTHON=/path/to/python3.12" >&2
    return 1
}

ensure_venv_module() { # PYTHON: returns only if it can make environments
    local version package
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 && return 0
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package=python$version-venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "==> Installing the system package $package, which Python needs to make environments"
        if { apt-get install -y -qq "$package" || { apt-get update -qq && apt-get install -y -qq "$package"; }; } \
            >/dev/null && "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            return 0
        fi
        echo "apt could not install $package. Install it and run the same command again." >&2
        exit 1
    fi
    echo "$1 cannot make virtual environments: its module ensurepip is missing." >&2
    echo "Not root, so no system package is installed here. On Debian and Ubuntu: sudo apt install $package" >&2
    exit 1
}
