"""The file of keys: who may read it, how it comes to be, what is said when it is wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from llmlb.errors import StartupError
from llmlb.store.faults import KeyFileRefused
from llmlb.store.key_file import FILE_NAME, KeyFile
from llmlb.store.secret_box import WrongKey, box_from_setting, new_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(path: Path) -> str:
    with pytest.raises(StartupError) as refused:
        KeyFile(path.parent).box()
    said = str(refused.value)
    assert said.startswith(f"The key file {path} ")
    assert said.endswith(", or set LLMLB_SECRET_KEY.")
    return said


def test_it_is_made_at_first_need_for_its_owner_alone(path: Path) -> None:
    box = KeyFile(path.parent).box()
    assert not path.exists()
    before = os.umask(0)
    sealed = box.seal("x")
    os.umask(before)
    assert mode(path) == 0o600
    assert path.read_text().count("\n") == 1
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]
    assert KeyFile(path.parent).box().open(sealed) == "x"


def test_the_first_line_encrypts_and_all_decrypt(path: Path) -> None:
    old, new = new_key(), new_key()
    path.write_text(f"{new}\n\n  {old}  ")
    path.chmod(0o600)
    box = KeyFile(path.parent).box()
    assert box.open(box_from_setting(old).seal("x")) == "x"
    assert box_from_setting(new).open(box.seal("x")) == "x"


def test_of_two_that_make_it_at_once_the_first_wins_for_both(path: Path) -> None:
    first, second = KeyFile(path.parent).box(), KeyFile(path.parent).box()
    sealed = first.seal("x")
    second.seal("y")
    assert second.open(sealed) == "x"
    assert len(KeyFile(path.parent).lines()) == 1


def test_it_is_made_also_where_there_are_no_hard_links(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    first, second = KeyFile(path.parent).box(), KeyFile(path.parent).box()
    assert second.seal("x")
    assert second.open(first.seal("y")) == "y"
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]


def test_it_is_replaced_as_a_whole(path: Path) -> None:
    path.with_name(f"{FILE_NAME}.new").write_text("left by a process that was killed")
    path.with_name(f"{FILE_NAME}.new").chmod(0o666)
    file = KeyFile(path.parent)
    file.replace([new_key()])
    a, b = new_key(), new_key()
    file.replace([a, b])
    assert file.lines() == [a, b]
    assert mode(path) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]


def test_what_cannot_be_written_is_told(path: Path) -> None:
    path.parent.joinpath(f"{FILE_NAME}.new").mkdir()
    file = KeyFile(path.parent)
    with pytest.raises(KeyFileRefused, match=f"{path} cannot be written"):
        file.replace([new_key()])
    with pytest.raises(KeyFileRefused, match=f"{path} cannot be written"):
        file.box().seal("x")


def test_a_file_that_others_can_read_is_taken_from_them_and_told(path: Path) -> None:
    path.write_text(new_key())
    path.chmod(0o640)
    with capture_logs() as logs:
        KeyFile(path.parent).box()
    assert mode(path) == 0o600
    assert [log["log_level"] for log in logs] == ["warning"]
    with capture_logs() as logs:
        KeyFile(path.parent).box()
    assert logs == []


def test_a_file_that_cannot_be_taken_from_others_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    path.write_text(new_key())
    path.chmod(0o644)
    assert "can be read by others" in refusal(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfe", "is not the text that it was"),
        (b"x" * 70_000, "is too large"),
    ],
)
def test_a_file_that_holds_no_keys_is_refused(path: Path, content: bytes, why: str) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    assert why in refusal(path)


def test_a_file_with_a_key_that_can_be_guessed_is_refused(path: Path) -> None:
    path.write_text("guess me")
    with pytest.raises(StartupError, match="fewer than 32") as refused:
        KeyFile(path.parent).box()
    assert str(path) in str(refused.value)
    assert "guess me" not in str(refused.value)


def test_what_is_no_file_is_refused(path: Path) -> None:
    path.mkdir()
    assert "is not a file" in refusal(path)


def test_what_cannot_be_opened_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(new_key())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in refusal(path)


def test_without_a_file_nothing_is_opened(path: Path) -> None:
    with pytest.raises(WrongKey):
        KeyFile(path.parent).box().open(box_from_setting(new_key()).seal("x"))
