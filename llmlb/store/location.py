"""Where the database is: what a database URL means."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from llmlb.errors import StartupError

IN_MEMORY = None
"""The location of a database that is gone when it is closed."""

_SUPPORTED = "use sqlite:PATH, for example sqlite:~/.llmlb/llmlb.db, or sqlite::memory:"


def locate(url: str) -> Path | None:
    """The absolute path of the database file, or IN_MEMORY. Raises StartupError."""
    scheme, colon, rest = url.strip().partition(":")
    if not colon or scheme.lower() != "sqlite":
        # what follows the scheme may hold a password, so it is not shown
        named = f"{scheme}:…" if colon else "this"
        raise StartupError(f"LLMLB_DATABASE_URL: {named} is not supported: {_SUPPORTED}.")
    path, _, options = rest.removeprefix("//").partition("?")
    if options not in {"", "mode=rwc"}:
        raise StartupError(f"LLMLB_DATABASE_URL: the option ?{options} is not supported.")
    if path == ":memory:":
        return IN_MEMORY
    text = unquote(path)
    if not text or "\0" in text:
        raise StartupError(f"LLMLB_DATABASE_URL names no file: {_SUPPORTED}.")
    return expand(Path(re.sub("^/+", "/", text)))


def expand(path: Path) -> Path:
    """The absolute path without links, so that two names of one file get one lock."""
    try:
        return path.expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise StartupError(f"The path {path} cannot be found: {error}.") from None
