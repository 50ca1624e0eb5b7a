"""Whether a locked package has a known vulnerability, as far as the service can be reached.

    python -m scripts.audit

Exit code 1: one has, or pip-audit itself does not work. A service that cannot be reached, or
knows none of the packages (a mirror may not pass its data on), is said in one line, and is no
failure: what is locked has not changed for that.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

LOCK = ROOT / "requirements/dev.txt"
"""The largest: it holds all that the others lock, in the same versions."""

LIMIT_S = 300

_UNREACHABLE = re.compile(
    r"requests\.exceptions\.|Could not connect|not redirecting|ServiceError|ConnectionError"
)


@dataclass(frozen=True, slots=True)
class Run:
    """What pip-audit said: its report, if it came to one, and its last words."""

    report: dict[str, Any] | None
    last_line: str
    whole: str


def run_pip_audit(lock: Path) -> Run:
    """Ask the service for every package of *lock*."""
    with TemporaryDirectory() as place:
        target = Path(place) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--requirement", str(lock)]
        command += ["--format", "json", "--output", str(target), "--progress-spinner", "off"]
        try:
            done = subprocess.run(  # noqa: S603 - our own command, without a shell
                command, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Run(None, f"no answer within {LIMIT_S} s", "ConnectionError")
        report = json.loads(target.read_text()) if target.exists() else None
    lines = done.stderr.strip().splitlines() or ["it said nothing"]
    return Run(report, lines[-1][:300], done.stderr)


def judge(run: Run) -> tuple[list[str], bool]:
    """What to say of *run*, and whether it is a failure."""
    if run.report is None:
        if _UNREACHABLE.search(run.whole):
            return [f"audit: skipped, the service cannot be reached: {run.last_line}"], False
        return [f"audit: pip-audit does not work: {run.last_line}"], True
    packages = run.report["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return ["audit: skipped, the service knows none of the packages"], False
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}"
        f", fixed in {', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in known
        for vulnerability in package["vulns"]
    ]
    unknown = len(packages) - len(known)
    summary = (
        f"audit: {len(known)} packages, {len(found)} known vulnerabilities"
        + (f"; {unknown} more are not known to the service" if unknown else "")
        + ("; raise the version in pyproject.toml and run make lock" if found else "")
    )
    return [*found, summary], bool(found)


def main(ask: Callable[[Path], Run] = run_pip_audit) -> int:
    """Give the exit code."""
    lines, failed = judge(ask(LOCK))
    sys.stdout.write("\n".join(lines) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
