"""The log file: what is in it, how large it gets, and what happens when the disk does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import structlog

from llmlb.errors import StartupError
from llmlb.http.logs import Logs
from llmlb.http.logs.log_file import MOST_WAITING, LogFile
from llmlb.settings import Settings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_every_entry_is_a_line_of_json_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "llmlb.jsonl"
    for n in range(2):  # the second start goes on where the first left off
        logs = Logs()
        logs.begin(Settings(log_file=path))
        assert logs.path == str(path)
        structlog.get_logger().debug("too quiet")
        structlog.get_logger().info("told", n=n, api_key="hush", odd="\ud800\u2028")
        logs.end()
        assert not logs.path
        structlog.get_logger().info("when it is closed")

    told = [json.loads(line) for line in lines(path)]
    assert [(t["event"], t["n"], t["api_key"]) for t in told] == [
        ("told", n, "***") for n in (0, 1)
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_it_is_bounded_in_size_and_number(tmp_path: Path) -> None:
    path = tmp_path / "llmlb.jsonl"
    file = LogFile(path, file_bytes=1000, older_files=2)
    for n in range(200):
        file.write(f"{n:03} {'x' * 95}")
    file.close()

    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["llmlb.jsonl", "llmlb.jsonl.1", "llmlb.jsonl.2"]
    assert all(f.stat().st_size <= 1000 and f.stat().st_mode & 0o077 == 0 for f in files)
    kept = [line[:3] for f in reversed(files) for line in lines(f)]
    assert kept == [f"{n:03}" for n in range(200 - len(kept), 200)]


def test_a_place_where_it_cannot_be_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="LLMLB_LOG_FILE"):
        Logs().begin(Settings(log_file=tmp_path))


def test_a_disk_that_fails_is_told_once_and_when_it_is_well_again(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "llmlb.jsonl")
    broken = OSError(28, "No space left on device")
    flushed = Event()

    class Full:
        def write(self, _: str) -> None:
            raise broken

        def flush(self) -> None:
            flushed.set()

        def close(self) -> None:
            pass

        def tell(self) -> int:
            return 0

        def seek(self, *_: int) -> None:
            pass

    whole = file._file.stream
    file._file.stream = Full()  # type: ignore[assignment]
    with structlog.testing.capture_logs() as told:
        for _ in range(3):
            file.write("lost")
        while not file._waiting.empty():
            flushed.wait(0.01)
        file._file.acquire()
        file._file.stream = whole
        file._file.release()
        file.write("written")
        file.close()

    events = [(t["log_level"], t["event"]) for t in told]
    assert events == [
        ("error", "the log file cannot be written"),
        ("info", "the log file is written again"),
    ]
    assert "No space left" in told[0]["reason"]
    assert lines(tmp_path / "llmlb.jsonl")[-1] == "written"


def test_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "llmlb.jsonl")
    with structlog.testing.capture_logs() as told:
        file._file.acquire()  # as if a write did not return
        for n in range(MOST_WAITING + 50):
            file.write(str(n))
        file._file.release()
        file.close()

    assert [t["event"] for t in told] == ["the disk was too slow for the log file"]
    assert told[0]["lost_entries"] in (49, 50)
    assert len(lines(tmp_path / "llmlb.jsonl")) == MOST_WAITING + 50 - told[0]["lost_entries"]
