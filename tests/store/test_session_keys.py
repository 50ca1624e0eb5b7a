"""The file with the secrets that sign sessions: for its owner alone, and renewed in time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from llmlb.errors import StartupError
from llmlb.http.access.sessions import LIFETIME
from llmlb.store.session_keys import (
    FILE_NAME,
    KEPT_AFTER_ROTATION,
    ROTATED_AFTER,
    SessionKey,
    _current,
    new_session_key,
    out_of_date,
    session_keys,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)

as_root = os.geteuid() == 0


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def test_the_first_start_makes_a_secret_that_only_its_owner_can_read(file: Path) -> None:
    (key,) = session_keys(file.parent, NOW)
    assert len(key.secret) == 32
    assert key.made_at == NOW
    assert mode_of(file) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [FILE_NAME], "and nothing beside it"


def test_the_mode_does_not_depend_on_the_umask(file: Path) -> None:
    before = os.umask(0)
    try:
        session_keys(file.parent, NOW)
    finally:
        os.umask(before)
    assert mode_of(file) == 0o600


def test_later_starts_use_the_same_secret_and_leave_the_file_alone(file: Path) -> None:
    first = session_keys(file.parent, NOW)
    written = file.read_bytes(), file.stat().st_mtime_ns
    assert session_keys(file.parent, NOW + ROTATED_AFTER - SECOND) == first
    assert (file.read_bytes(), file.stat().st_mtime_ns) == written


def test_no_two_secrets_are_the_same_and_none_is_shown() -> None:
    one, other = new_session_key(NOW), new_session_key(NOW)
    assert one.secret != other.secret
    assert one.id != other.id
    assert one.secret.hex() not in repr(one)
    assert str(one.secret) not in repr(one)


def test_after_30_days_there_is_a_new_one_and_the_old_one_as_long_as_sessions_last(
    file: Path,
) -> None:
    (old,) = session_keys(file.parent, NOW)
    at = NOW + ROTATED_AFTER
    newest, still = session_keys(file.parent, at)
    assert still == old
    assert newest.made_at == at
    assert session_keys(file.parent, at + KEPT_AFTER_ROTATION - SECOND) == (newest, old)
    assert session_keys(file.parent, at + KEPT_AFTER_ROTATION) == (newest,)
    assert old.secret.hex() not in file.read_text()
    assert mode_of(file) == 0o600


def test_the_old_one_outlives_every_session_that_it_has_signed() -> None:
    assert KEPT_AFTER_ROTATION > LIFETIME


def test_a_clock_that_was_far_ahead_does_not_keep_a_secret_for_ever(file: Path) -> None:
    (ahead,) = session_keys(file.parent, NOW + 3650 * DAY)
    newest, still = session_keys(file.parent, NOW)
    assert still == ahead, "who logged in then still is"
    assert newest.made_at == NOW
    assert session_keys(file.parent, NOW + 2 * DAY) == (newest,)


def test_a_clock_that_jumps_back_a_little_and_returns_ends_no_session(file: Path) -> None:
    (first,) = session_keys(file.parent, NOW)
    newest, still = session_keys(file.parent, NOW - SECOND)
    assert still == first
    assert session_keys(file.parent, NOW) == (newest, first)


def test_without_a_directory_nothing_is_kept() -> None:
    (one,), (other,) = session_keys(None, NOW), session_keys(None, NOW)
    assert one != other


@given(
    st.lists(st.timedeltas(-200 * DAY, 200 * DAY), min_size=1, max_size=12),
)
def test_however_the_clock_runs_what_signs_is_never_old_and_at_most_two_are_kept(
    instants: list[timedelta],
) -> None:
    keys: tuple[SessionKey, ...] = ()
    for instant in instants:
        now = NOW + instant
        before, keys = keys, _current(keys, now)
        assert 1 <= len(keys) <= 2
        assert not keys[0].due(now)
        assert not out_of_date(keys, now)
        assert keys == _current(keys, now)
        if before and before[0] != keys[0]:
            assert keys[1] == before[0], "the one that has just signed still verifies"


def test_out_of_date_is_what_the_next_start_would_change() -> None:
    old = new_session_key(NOW)
    newest = new_session_key(NOW + ROTATED_AFTER)
    assert not out_of_date((old,), NOW)
    assert out_of_date((old,), NOW + ROTATED_AFTER)
    assert not out_of_date((newest, old), newest.made_at)
    assert out_of_date((newest, old), newest.made_at + KEPT_AFTER_ROTATION)


# -- files that are not as they should be


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_mended_and_it_is_said(file: Path, mode: int) -> None:
    keys = session_keys(file.parent, NOW)
    file.chmod(mode)
    with capture_logs() as logs:
        assert session_keys(file.parent, NOW) == keys
    assert mode_of(file) == 0o600
    assert [entry["log_level"] for entry in logs] == ["warning"]
    with capture_logs() as logs:
        session_keys(file.parent, NOW)
    assert logs == []


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        b"\xff\xfe\x00" * 99,
        b"id 2026-03-01T12:00:00Z " + b"0" * 63,
        b"id 2026-03-01T12:00:00Z " + b"00" * 31,
        b"id yesterday " + b"00" * 32,
        b"id " + b"00" * 32,
        b"id 2026-03-01T12:00:00Z " + b"zz" * 32,
    ],
)
def test_of_a_file_that_cannot_be_read_new_secrets_are_made_and_it_is_said(
    file: Path, content: bytes
) -> None:
    file.write_bytes(content)
    file.chmod(0o600)
    with capture_logs() as logs:
        (key,) = session_keys(file.parent, NOW)
    assert [entry["event"] for entry in logs] == [
        "the secrets of sessions cannot be read and are made anew"
    ]
    assert session_keys(file.parent, NOW) == (key,)


def test_an_empty_file_is_as_good_as_none(file: Path) -> None:
    file.touch(0o600)
    with capture_logs() as logs:
        (key,) = session_keys(file.parent, NOW)
    assert logs == []
    assert session_keys(file.parent, NOW) == (key,)


def test_what_can_be_read_beside_garbage_is_used(file: Path) -> None:
    (key,) = session_keys(file.parent, NOW)
    file.write_bytes(b"garbage\n" + file.read_bytes() + b"more garbage")
    assert session_keys(file.parent, NOW) == (key,)


def test_a_file_with_a_thousand_lines_is_cut_down_to_two(file: Path) -> None:
    (key,) = session_keys(file.parent, NOW)
    line = file.read_bytes()
    file.write_bytes(line * 1000)
    assert session_keys(file.parent, NOW) == (key, key)
    assert file.read_bytes() == line * 2


def test_what_a_crash_left_half_written_is_in_nobodys_way(file: Path) -> None:
    beside = file.with_name(f".{FILE_NAME}.new")
    beside.write_text("half a li")
    beside.chmod(0o444)
    (key,) = session_keys(file.parent, NOW)
    assert not beside.exists()
    assert session_keys(file.parent, NOW) == (key,)


def test_a_link_that_somebody_put_beside_it_is_not_followed(file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    file.with_name(f".{FILE_NAME}.new").symlink_to(victim)
    session_keys(file.parent, NOW)
    assert victim.read_text() == "precious"
    assert not file.is_symlink()


def is_a_directory(file: Path) -> None:
    file.mkdir()


def is_in_no_directory(file: Path) -> None:
    file.parent.rmdir()


def has_a_directory_beside_it(file: Path) -> None:
    file.with_name(f".{FILE_NAME}.new").mkdir()


def cannot_be_read(file: Path) -> None:
    file.touch(0o000)


@pytest.mark.parametrize(
    "trouble",
    [
        is_a_directory,
        is_in_no_directory,
        has_a_directory_beside_it,
        pytest.param(
            cannot_be_read, marks=pytest.mark.skipif(as_root, reason="root reads everything")
        ),
    ],
)
def test_what_is_wrong_with_the_disk_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, trouble: Callable[[Path], None]
) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    trouble(directory / FILE_NAME)
    with pytest.raises(StartupError, match="make it and its directory writable") as refusal:
        session_keys(directory, NOW)
    assert str(directory / FILE_NAME) in str(refusal.value)


def test_a_disk_that_is_full_leaves_the_old_file_whole(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = session_keys(file.parent, NOW)
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmlb.store.session_keys.os.fsync", full)
    with pytest.raises(StartupError, match="No space left on device"):
        session_keys(file.parent, NOW + ROTATED_AFTER)
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert session_keys(file.parent, NOW) == (old,)
