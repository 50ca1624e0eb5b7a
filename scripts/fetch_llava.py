#!/usr/bin/env python3
"""How to fetch large files once: resumed after a cut, checked, and there only when whole.

    scripts/fetch_llava.py [--into DIRECTORY] [--list scripts/llava.json]

Prints one line NAME=path per file, as $GITHUB_ENV wants them. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TRIES = 5
"""In a row that bring nothing new; as long as bytes come, it goes on."""
PAUSE_S = 2.0
"""After the first of those tries; each further one waits twice as long."""
SILENCE_S = 60.0
CHUNK_BYTES = 1024 * 1024


class FetchFailed(Exception):
    """str(error) is one sentence that says what to do."""


class _Cut(Exception):
    """This try ended early; the next one goes on from there."""


@dataclass(frozen=True)
class Wanted:
    """One file, and what it has to be."""

    variable: str
    name: str
    url: str
    sha256: str
    most_bytes: int
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise FetchFailed(f"{self.name} has no usable sha256 in the list: {self.sha256!r}.")
        if Path(self.name).name != self.name or self.name[:1] in ("", "."):
            raise FetchFailed(f"{self.name!r} in the list is not a plain file name.")


def read_list(path: Path) -> list[Wanted]:
    """The files to fetch. Raises FetchFailed."""
    try:
        return [Wanted(**entry) for entry in json.loads(path.read_bytes())["files"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FetchFailed(f"{path} is not a list of files: {error!r}.") from None


def fetch(
    wanted: Wanted,
    directory: Path,
    *,
    pause: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Make sure that the file is in *directory*, with its checksum. Raises FetchFailed."""
    directory.mkdir(parents=True, exist_ok=True)
    target, part = directory / wanted.name, directory / f".{wanted.name}.part"
    with _only_one(directory / f".{wanted.name}.lock"):
        if target.exists():
            if _sha256(target) == wanted.sha256:
                say(f"{wanted.name} is there already")
                return target
            say(f"{wanted.name} has a wrong checksum and is fetched anew")
            target.unlink()
        begun_before = part.exists()
        _fill(wanted, part, pause, say)
        if not _is_right(wanted, part) and begun_before:
            say(f"what was left of {wanted.name} does not fit; starting over")
            part.unlink()
            _fill(wanted, part, pause, say)
        if not _is_right(wanted, part):
            found = _sha256(part)
            part.unlink()
            raise FetchFailed(
                f"{wanted.url} is not the file that was wanted: its sha256 is {found}, not "
                f"{wanted.sha256}. Do not use it; if the change is meant, change the list."
            )
        part.replace(target)
    return target


def _fill(
    wanted: Wanted, part: Path, pause: Callable[[float], None], say: Callable[[str], None]
) -> None:
    """Try until *part* is whole, as far as its length tells."""
    fruitless = 0
    while True:
        before = _size(part)
        try:
            _continue(wanted, part)
        except _Cut as cut:
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= TRIES:
                raise FetchFailed(
                    f"{wanted.url} could not be fetched: {cut}. {_size(part)} bytes are kept in "
                    f"{part}; run this again to go on from there."
                ) from None
            say(f"{wanted.name}: {cut}; going on from {_size(part)} bytes")
            pause(PAUSE_S * 2 ** max(0, fruitless - 1))
        else:
            return


def _continue(wanted: Wanted, part: Path) -> None:
    """Append to *part* what it lacks. Raises _Cut, FetchFailed."""
    have = _size(part)
    headers = {"user-agent": "llmlb-fetch", "accept-encoding": "identity"}
    if have:
        headers["range"] = f"bytes={have}-"
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 - from our own list
    try:
        with urllib.request.urlopen(request, timeout=SILENCE_S) as answer:  # noqa: S310
            start, total = _place(answer.status, answer.headers, have)
            with part.open("r+b" if part.exists() else "wb") as file:
                file.truncate(start)
                file.seek(start)
                _copy(answer, file.write, wanted, start)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            return  # there is no more; the checksum tells whether what there is is right
        if error.code in (408, 429) or error.code >= 500:
            raise _Cut(f"HTTP {error.code}") from None
        raise FetchFailed(f"{wanted.url} answers with HTTP {error.code}.") from None
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise _Cut(str(getattr(error, "reason", error)) or type(error).__name__) from None
    except OSError as error:
        raise FetchFailed(f"{part} could not be written: {error.strerror or error}.") from None
    if total is not None and _size(part) < total:
        raise _Cut(f"the connection was cut at {_size(part)} of {total} bytes")


def _place(status: int, headers: http.client.HTTPMessage, have: int) -> tuple[int, int | None]:
    """Where in the file this answer begins, and how long the whole file is, if that is said."""
    if status == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", ""))
        if said is None or int(said[1]) != have:
            raise FetchFailed("The server answers with another part of the file than asked for.")
        return have, None if said[2] == "*" else int(said[2])
    length = headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None  # it knows no ranges: from the start


def _copy(
    answer: http.client.HTTPResponse, write: Callable[[bytes], int], wanted: Wanted, start: int
) -> None:
    limit = wanted.most_bytes if wanted.size_bytes is None else wanted.size_bytes
    while chunk := answer.read(CHUNK_BYTES):
        start += len(chunk)
        if start > limit:
            raise FetchFailed(f"{wanted.url} is larger than the {limit} bytes it may have.")
        write(chunk)


def _is_right(wanted: Wanted, part: Path) -> bool:
    if wanted.size_bytes is not None and _size(part) != wanted.size_bytes:
        return False
    return _sha256(part) == wanted.sha256


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Two runs at once would write into the same part."""
    import fcntl  # noqa: PLC0415 - not on Windows, where nobody needs this

    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchFailed(f"Another run is fetching into {lock.parent} right now.") from None
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch everything on the list. Gives the exit code."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(prog="fetch_llava.py")
    parser.add_argument("--into", type=Path, default=here.parent / ".vision", help="directory")
    parser.add_argument("--list", type=Path, default=here / "llava.json", help="what to fetch")
    options = parser.parse_args(arguments)
    try:
        for wanted in read_list(options.list):
            path = fetch(wanted, options.into, say=lambda line: print(line, file=sys.stderr))  # noqa: T201
            print(f"{wanted.variable}={path.resolve()}", flush=True)  # noqa: T201 - our output
    except FetchFailed as failure:
        print(f"fetch_llava: {failure}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
