"""Whether anything that looks like a secret stands in a file of the repository.

    python -m scripts.scan_secrets [--accept] [FILE ...]

Without files: all that Git tracks, or would. What is none is marked on its line with
`pragma: allowlist secret`; where no comment can stand, --accept notes all that is found now in
`.secrets.baseline`, by its hash and whatever its line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ".secrets.baseline"

_BY_NAME = "KeywordDetector"
"""Takes whatever is assigned to `password` and the like. Tests make such things up all the time;
what is real among them has the form of a key, or looks random, and is found by that."""

_CHECKSUMS = {"pattern": [r'"(?:sha256|[0-9]{4}_\w+)": "[0-9a-f]{64}"']}
"""They look random, and anybody may know them: of migrations, and of files to be fetched."""


def files_of(root: Path) -> list[str]:
    """What Git tracks in *root*, and what it would if it were added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    said = subprocess.run(  # noqa: S603 - our own command, without a shell
        command, cwd=root, capture_output=True, check=True
    ).stdout.decode()
    return sorted(name for name in set(said.split("\0")) - {"", BASELINE} if (root / name).exists())


def scan(root: Path, files: Iterable[str]) -> SecretsCollection:
    """All that looks like a secret in *files*, which are named as seen from *root*.

    Nothing is asked of any network, as detect-secrets would to see whether a key works.
    """
    names = list(files)
    found = SecretsCollection()
    with chdir(root), default_settings() as settings:
        settings.filters["detect_secrets.filters.regex.should_exclude_line"] = _CHECKSUMS
        for name in names:
            if not name.startswith("tests/"):
                found.scan_file(name)
        settings.disable_plugins(_BY_NAME)
        for name in names:
            if name.startswith("tests/"):
                found.scan_file(name)
    return found


def accepted(root: Path) -> SecretsCollection:
    """What the baseline says is none."""
    file = root / BASELINE
    return SecretsCollection.load_from_baseline(
        json.loads(file.read_text()) if file.exists() else {"results": {}}
    )


def accept(root: Path, found: SecretsCollection) -> None:
    """Make *found* the baseline."""
    results: dict[str, list[dict[str, Any]]] = {}
    for name, secret in sorted(found, key=_place):
        entry = {"type": secret.type, "hashed_secret": secret.secret_hash}
        results.setdefault(name, []).append(entry)
    (root / BASELINE).write_text(json.dumps({"results": results}, indent=2) + "\n")


def _place(found: tuple[str, PotentialSecret]) -> tuple[str, int, str, str]:
    name, secret = found
    return name, secret.line_number, secret.type, secret.secret_hash


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Give the exit code: 1 if something was found that is not accepted."""
    parser = argparse.ArgumentParser(prog="python -m scripts.scan_secrets")
    parser.add_argument("--accept", action="store_true", help=f"note all of it in {BASELINE}")
    parser.add_argument("files", nargs="*", help="by default all that Git tracks, or would")
    options = parser.parse_args(arguments)
    if options.accept and options.files:
        parser.error("--accept is for all files: it writes the baseline anew")
    files = options.files or files_of(root)
    found = scan(root, files)
    if options.accept:
        accept(root, found)
    new = sorted(found - accepted(root), key=_place)
    for name, secret in new:
        sys.stdout.write(f"{name}:{secret.line_number}: {secret.type}\n")
    sys.stdout.write(f"secrets: {len(files)} files, {len(new)} findings\n")
    if new:
        sys.stdout.write(
            "If it is none, mark its line with `pragma: allowlist secret`. If it is one, revoke "
            "it: whoever has a copy of the repository knows it.\n"
        )
    return int(bool(new))


if __name__ == "__main__":
    sys.exit(main())
