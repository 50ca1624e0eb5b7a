"""A locked package with a known vulnerability is a failure; a service out of reach is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.audit import LOCK, Run, judge, main, run_pip_audit

CLEAN = {"name": "trio", "version": "0.30.0", "vulns": []}
WEAK = {
    "name": "h11",
    "version": "0.14.0",
    "vulns": [{"id": "PYSEC-2025-1", "fix_versions": ["0.16.0"], "aliases": []}],
}
HOPELESS = {"name": "old", "version": "1", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}


def reported(*dependencies: dict[str, Any]) -> Run:
    return Run({"dependencies": list(dependencies), "fixes": []}, "", "")


def test_packages_without_vulnerabilities_are_counted() -> None:
    assert judge(reported(CLEAN)) == (["audit: 1 packages, 0 known vulnerabilities"], False)


def test_a_vulnerability_is_named_with_its_cure() -> None:
    lines, failed = judge(reported(CLEAN, WEAK, HOPELESS))
    assert failed
    assert lines[:2] == [
        "h11 0.14.0: PYSEC-2025-1, fixed in 0.16.0",
        "old 1: PYSEC-2, fixed in no version",
    ]
    assert "make lock" in lines[2]


def test_packages_that_were_not_looked_at_are_told_of() -> None:
    lines, failed = judge(reported(CLEAN, UNKNOWN))
    assert not failed
    assert lines == [
        "audit: 1 packages, 0 known vulnerabilities; 1 more are not known to the service"
    ]


def test_a_service_that_knows_nothing_is_one_line_and_no_failure() -> None:
    assert judge(reported(UNKNOWN)) == (
        ["audit: skipped, the service knows none of the packages"],
        False,
    )


@pytest.mark.parametrize(
    "last_line",
    [
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='pypi.org', port=443): …",
        "requests.exceptions.ProxyError: HTTPSConnectionPool(host='pypi.org', port=443): …",
        "requests.exceptions.ReadTimeout: read timed out",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed",
        "pip_audit._service.interface.ServiceError",
    ],
)
def test_a_service_out_of_reach_is_one_line_and_no_failure(last_line: str) -> None:
    lines, failed = judge(Run(None, last_line, f"Traceback …\n{last_line}"))
    assert not failed
    assert len(lines) == 1
    assert "cannot be reached" in lines[0]


def test_a_tool_that_does_not_work_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real pip-audit, with a lock that is not there: it asks no service."""
    assert main(lambda _: run_pip_audit(tmp_path / "nothing.txt")) == 1
    assert "does not work" in capsys.readouterr().out


def test_the_whole_lock_is_asked_about() -> None:
    asked: list[Path] = []

    def ask(lock: Path) -> Run:
        asked.append(lock)
        return reported(CLEAN)

    assert main(ask) == 0
    assert asked == [LOCK]
    assert LOCK.exists()
