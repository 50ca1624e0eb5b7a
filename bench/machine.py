"""What a run ran on, without which no figure says anything."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path

from bench.building import run
from bench.places import ROOT, Unavailable


def describe() -> dict[str, str]:
    """Name and value of each line."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _asked("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{_memory_gb():.0f} GB",
        "system": f"{platform.system()} {platform.release()}, {_distribution()}",
        "load before the run": f"{os.getloadavg()[0]:.2f} (1 min)",
        "Python": python_build(),
        "compiler": _asked("gcc", "--version").splitlines()[0],
    }


def python_build() -> str:
    """Which Python this is and how it was built, which makes a fifth of a difference."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    ways = {"--enable-optimizations": "PGO", "--with-lto": "LTO"}
    built = [name for option, name in ways.items() if option in arguments]
    compiler = platform.python_compiler()
    origin = "Debian's" if _is_system_python() else "built from source"
    return f"{platform.python_version()}, {origin}, {' and '.join(built) or 'plain'}, {compiler}"


def _is_system_python() -> bool:
    return Path(sys.executable).resolve().parent == Path("/usr/bin")


def _asked(*command: str) -> str:
    try:
        return run(command, limit_s=10).strip() or "?"
    except Unavailable:
        return "?"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "?"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "?"
