from __future__ import annotations

from pathlib import Path

import pytest

from llmlb.errors import StartupError
from llmlb.store.location import IN_MEMORY, expand, locate


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:/data/llmlb.db", "/data/llmlb.db"),
        ("SQLite:/data/llmlb.db", "/data/llmlb.db"),
        ("sqlite:///data/llmlb.db", "/data/llmlb.db"),
        ("sqlite:////data/llmlb.db", "/data/llmlb.db"),
        ("sqlite:///data/load balancer.db", "/data/load balancer.db"),
        ("sqlite:///data/load%20balancer.db", "/data/load balancer.db"),
        ("sqlite:/data/100%/x.db", "/data/100%/x.db"),
        ("sqlite:/data/x.db?mode=rwc", "/data/x.db"),
    ],
)
def test_every_form_of_url_names_its_file(url: str, path: str) -> None:
    assert locate(url) == Path(path)


def test_a_relative_path_starts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:x.db") == tmp_path / "x.db"
    assert locate("sqlite://y/x.db") == tmp_path / "y" / "x.db"


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("sqlite:~/x.db") == tmp_path / "x.db"


def test_memory_is_no_file() -> None:
    assert locate("sqlite::memory:") is IN_MEMORY
    assert locate("sqlite://:memory:") is IN_MEMORY


def test_two_names_of_one_file_are_one_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert locate(f"sqlite:{tmp_path}/link/x.db") == tmp_path / "real" / "x.db"


@pytest.mark.parametrize(
    "url",
    ["postgres://me:hunter2@db/llmlb", "postgresql:x", "mysql:x", "/data/x.db", "x.db", ""],
)
def test_another_kind_of_database_is_refused_with_what_is_supported(url: str) -> None:
    with pytest.raises(StartupError, match="use sqlite:PATH") as refused:
        locate(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:%00", "sqlite:x.db?cache=shared"])
def test_a_url_without_a_usable_file_is_refused(url: str) -> None:
    with pytest.raises(StartupError, match="LLMLB_DATABASE_URL"):
        locate(url)


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(StartupError, match="cannot be found"):
        expand(Path("~no-such-user-here/x"))
