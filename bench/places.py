"""Where the benchmark has its sources, puts what it makes, and writes what it found."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "bench/c"
BUILD = ROOT / "bench/build"
"""Environments, binaries, databases and results; git ignores it, and all can be made anew."""
DOCUMENT = ROOT / "docs/performance.md"
IMAGES = ROOT / "docs/images"
RESULTS = BUILD / "results.json"
SOAK_RESULTS = BUILD / "soak.json"

PROXY_CORE = 0
LOAD_CORE = 1
"""Of the stub and the load generator."""


class Unavailable(Exception):
    """Something cannot be had on this machine; the text is a sentence that says why."""
