"""Fetching large files, against a local server that misbehaves in every way known of servers."""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.fetch_llava import TRIES, FetchFailed, Wanted, fetch, main, read_list
from tests.fakes.local_server import LocalServer, Quiet, running

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """One file on a local server, and how the server treats those who want it."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    """How many bytes the next answers send before the connection breaks."""
    statuses: list[int] = field(default_factory=list)
    """What the next requests are refused with."""
    content_range: str | None = None
    says_length: bool = True
    redirect: bool = False
    asked: list[str | None] = field(default_factory=list)
    """The Range of each request."""

    def wanted(self, **other: object) -> Wanted:
        fields: dict[str, object] = {
            "variable": "LLMLB_VISION_MODEL", "name": "model.gguf", "url": self.url,
            "sha256": SHA256, "most_bytes": 4_000_000,
        }  # fmt: skip
        return Wanted(**{**fields, **other})  # type: ignore[arg-type]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(Quiet):
        def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
            if site.redirect and self.path == "/model":
                self.send_response(302)
                self.send_header("location", "/elsewhere")
                self.end_headers()
                return
            asked = self.headers["range"]
            site.asked.append(asked)
            if site.statuses:
                self.send_error(site.statuses.pop(0))
                return
            start = int(asked[6:-1]) if asked and site.ranges else 0
            if asked and start >= len(site.content):
                self.send_error(416)
                return
            total = len(site.content)
            self.send_response(206 if start else 200)
            if start:
                said = site.content_range or f"bytes {start}-{total - 1}/{total}"
                self.send_header("content-range", said)
            if site.says_length:
                self.send_header("content-length", str(total - start))
            self.end_headers()
            end = start + site.cut_after.pop(0) if site.cut_after else total
            self.wfile.write(site.content[start:end])
            self.close_connection = True

    with running(LocalServer(Handler)) as server:
        site.url = f"{server.url}/model"
        yield site


@pytest.fixture
def pauses() -> list[float]:
    return []


def test_a_file_is_fetched_checked_and_left_alone_the_next_time(site: Site, tmp_path: Path) -> None:
    path = fetch(site.wanted(size_bytes=len(CONTENT)), tmp_path / "new" / "directory")
    assert path.read_bytes() == CONTENT
    assert fetch(site.wanted(), path.parent) == path
    assert site.asked == [None]
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".lock"] == ["model.gguf"]


def test_a_cut_connection_is_resumed_where_it_was_cut(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.cut_after = [1_000_000, 500_000]
    said: list[str] = []
    path = fetch(site.wanted(), tmp_path, pause=pauses.append, say=said.append)
    assert path.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert said[0] == (
        "model.gguf: the connection was cut at 1000000 of 3000000 bytes; "
        "going on from 1000000 bytes"
    )


def test_a_second_run_goes_on_where_the_first_gave_up(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.cut_after = [2_000_000] + [0] * TRIES
    with pytest.raises(FetchFailed, match=r"2000000 bytes are kept .* run this again"):
        fetch(site.wanted(), tmp_path, pause=pauses.append)
    assert not (tmp_path / "model.gguf").exists()
    assert pauses == [2, 2, 4, 8, 16]
    assert fetch(site.wanted(), tmp_path).read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=2000000-"


def test_a_server_without_ranges_sends_it_all_again(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.ranges, site.cut_after = False, [1_000_000]
    assert fetch(site.wanted(), tmp_path, pause=pauses.append).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000000-"]


def test_a_redirect_keeps_the_range(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.redirect, site.cut_after = True, [1_000_000]
    assert fetch(site.wanted(), tmp_path, pause=pauses.append).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000000-"]


def test_a_wrong_file_is_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    site.content = CONTENT[:-1] + b"?"
    with pytest.raises(FetchFailed, match="is not the file that was wanted"):
        fetch(site.wanted(), tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


def test_a_part_of_another_file_is_thrown_away_and_begun_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".model.gguf.part").write_bytes(b"of an older version")
    assert fetch(site.wanted(), tmp_path).read_bytes() == CONTENT
    assert site.asked == ["bytes=19-", None]


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"too much"])
def test_a_part_that_is_whole_or_longer_is_checked(site: Site, tmp_path: Path, left: bytes) -> None:
    (tmp_path / ".model.gguf.part").write_bytes(left)
    assert fetch(site.wanted(), tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(CONTENT[:1000])
    assert fetch(site.wanted(), tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.statuses = [503, 429, 500]
    assert fetch(site.wanted(), tmp_path, pause=pauses.append).read_bytes() == CONTENT
    assert pauses == [2, 4, 8]


def test_a_file_that_is_not_there_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [404]
    with pytest.raises(FetchFailed, match="answers with HTTP 404"):
        fetch(site.wanted(), tmp_path)
    assert len(site.asked) == 1


def test_nobody_listening_is_told(tmp_path: Path, pauses: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/model"
        with pytest.raises(FetchFailed, match="refused"):
            fetch(Site(url=url).wanted(), tmp_path, pause=pauses.append)
    assert len(pauses) == TRIES - 1


def test_another_part_than_asked_for_is_not_stitched_in(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".model.gguf.part").write_bytes(CONTENT[:1000])
    site.content_range = "bytes 0-2999999/3000000"
    with pytest.raises(FetchFailed, match="another part of the file"):
        fetch(site.wanted(), tmp_path)


def test_a_server_that_does_not_stop_does_not_fill_the_disk(site: Site, tmp_path: Path) -> None:
    site.says_length = False
    with pytest.raises(FetchFailed, match="larger than the 100000 bytes"):
        fetch(site.wanted(most_bytes=100_000), tmp_path)


def test_a_length_that_nobody_tells_is_no_obstacle(site: Site, tmp_path: Path) -> None:
    site.says_length = False
    assert fetch(site.wanted(), tmp_path).read_bytes() == CONTENT


def test_a_wrong_size_is_a_wrong_file(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="not the file that was wanted"):
        fetch(site.wanted(size_bytes=3_000_001), tmp_path)


def test_a_second_run_at_the_same_time_is_sent_away(site: Site, tmp_path: Path) -> None:
    with (tmp_path / ".model.gguf.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FetchFailed, match="Another run"):
            fetch(site.wanted(), tmp_path)
    assert site.asked == []


def test_a_disk_that_cannot_be_written_is_told(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".model.gguf.part").mkdir()
    with pytest.raises(FetchFailed, match="could not be written"):
        fetch(site.wanted(), tmp_path)


def test_the_script_fetches_what_the_list_names_and_prints_where_it_is(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "list.json"
    entry = {**vars(site.wanted())}
    listed.write_text(json.dumps({"files": [entry]}))
    assert main(["--into", str(tmp_path), "--list", str(listed)]) == 0
    assert capsys.readouterr().out == f"LLMLB_VISION_MODEL={tmp_path / 'model.gguf'}\n"
    listed.write_text(json.dumps({"files": [{**entry, "sha256": "unknown"}]}))
    assert main(["--into", str(tmp_path), "--list", str(listed)]) == 1
    assert "has no usable sha256" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": [{}]}', '{"files": 5}'])
def test_a_list_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(FetchFailed, match="is not a list of files"):
        read_list(tmp_path / "list.json")


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", ".x", ""])
def test_a_name_on_the_list_leads_nowhere_else(name: str) -> None:
    with pytest.raises(FetchFailed, match="not a plain file name"):
        Site().wanted(name=name)


def test_the_real_list_can_be_read() -> None:
    files = read_list(Path(__file__).parent.parent / "scripts" / "llava.json")
    assert [f.variable for f in files] == ["LLMLB_VISION_MODEL", "LLMLB_VISION_MMPROJ"]
    assert all(f.url.startswith("https://huggingface.co/") for f in files)
