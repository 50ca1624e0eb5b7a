from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")

APP: list[str] = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
DEMO: list[str] = APP + PROJECT["project"]["optional-dependencies"]["demo"]
DEV: list[str] = DEMO + PROJECT["dependency-groups"]["test"] + PROJECT["dependency-groups"]["lint"]


def entries(name: str) -> list[str]:
    """One text per locked package: its requirement line with its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines).strip())


def locked(name: str, python: str) -> dict[NormalizedName, str]:
    """What the lock installs on one version of Python: versions by name."""
    found: dict[NormalizedName, str] = {}
    for entry in entries(name):
        requirement = Requirement(entry.partition(" \\")[0])
        environment = {"python_full_version": python, "python_version": python[:4]}
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("name", "wanted"), [("app", APP), ("demo", DEMO), ("dev", DEV)])
def test_the_lock_holds_all_that_the_project_asks_for(
    name: str, wanted: list[str], python: str
) -> None:
    versions = locked(name, python)
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


@pytest.mark.parametrize("python", PYTHONS)
def test_the_larger_locks_agree_with_the_smaller_ones(python: str) -> None:
    app, demo, dev = (locked(name, python) for name in ("app", "demo", "dev"))
    assert app.items() <= demo.items() <= dev.items()


@pytest.mark.parametrize("name", ["app", "demo", "dev"])
def test_every_locked_package_has_hashes_and_no_address(name: str) -> None:
    for entry in entries(name):
        assert "--hash=sha256:" in entry
        assert "://" not in entry


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("app", "hypercorn", "trio"), ("dev", "hypercorn", "trio"), ("dev", "coverage", "toml")],
)
def test_the_extras_that_packages_ask_of_one_another_are_locked(
    name: str, package: str, extra: str
) -> None:
    # pip takes `hypercorn` and `hypercorn[trio]` for two packages: without this the lock holds
    # only as long as the locked release is the newest one.
    requirements = [Requirement(entry.partition(" \\")[0]) for entry in entries(name)]
    assert [r.extras for r in requirements if r.name == package] == [{extra}]
