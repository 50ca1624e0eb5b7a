"""A secret that is put into a file of the repository is found, and what is accepted is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.scan_secrets import BASELINE, files_of, main

# This file is scanned, too.
TOKEN = "ghp_" + "x7Rk2Vq9Lm4Tz8Wc1Yb6Nd3Hs5Jf0Pg" + "QaEuK"  # pragma: allowlist secret
PASSWORD = "hunter2-" + "Tr0ub4dor"
KEY_FILE = "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n"
CHECKSUM = "ea579b4d5f47060d" * 4  # pragma: allowlist secret


@pytest.fixture
def root(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("ignored/\n")
    (tmp_path / "clean.py").write_text("x = 1\n")
    return tmp_path


def plant(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llmlb/x.py", f'TOKEN = "{TOKEN}"\n'),
        ("llmlb/x.py", f'password = "{PASSWORD}"\n'),
        ("tests/test_x.py", f'headers = {{"authorization": "Bearer {TOKEN}"}}\n'),
        ("tests/recorded/answer.json", f'{{"token": "{TOKEN}"}}\n'),
        ("docs/x.md", f"export GITHUB={TOKEN}\n"),
        ("deploy/key.pem", KEY_FILE),
    ],
)
def test_a_planted_secret_is_found(
    root: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(root, name, text)
    assert main([], root=root) == 1
    said = capsys.readouterr().out
    assert f"{name}:1: " in said
    assert TOKEN not in said
    assert PASSWORD not in said


def test_what_was_committed_is_looked_at_as_well_as_what_is_new(root: Path) -> None:
    plant(root, "old.py", f'TOKEN = "{TOKEN}"\n')
    subprocess.run(["git", "-C", str(root), "add", "old.py"], check=True)
    plant(root, "ignored/x.py", f'TOKEN = "{TOKEN}"\n')
    plant(root, "deleted.py", "x = 2\n")
    subprocess.run(["git", "-C", str(root), "add", "deleted.py"], check=True)
    (root / "deleted.py").unlink()
    assert files_of(root) == [".gitignore", "clean.py", "old.py"]
    assert main([], root=root) == 1


def test_passwords_of_tests_are_made_up(root: Path) -> None:
    plant(root, "tests/test_x.py", f'password = "{PASSWORD}"\n')
    assert main([], root=root) == 0


def test_what_is_marked_on_its_line_is_none(root: Path) -> None:
    plant(root, "x.py", f'TOKEN = "{TOKEN}"  # pragma: allowlist secret\n')
    assert main([], root=root) == 0


def test_checksums_are_no_secrets(root: Path) -> None:
    plant(root, "tests/x.py", f'    "0001_endpoints": "{CHECKSUM}",\n')
    plant(root, "list.json", f'    "sha256": "{CHECKSUM}",\n')
    assert main([], root=root) == 0


def test_what_was_accepted_stays_so_on_another_line_and_nothing_else_does(root: Path) -> None:
    plant(root, "x.json", f'{{"token": "{TOKEN}"}}\n')
    assert main(["--accept"], root=root) == 0
    assert TOKEN not in (root / BASELINE).read_text()
    plant(root, "x.json", f'{{\n\n"token": "{TOKEN}"}}\n')
    assert main([], root=root) == 0
    plant(root, "y.json", f'{{"token": "{TOKEN}"}}\n')
    assert main([], root=root) == 1
    assert main(["x.json"], root=root) == 0


def test_some_files_are_not_made_the_whole_baseline(root: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--accept", "clean.py"], root=root)
    assert not (root / BASELINE).exists()
