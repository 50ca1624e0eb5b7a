"""Bytes that stand on disk while a request lasts, and not a moment longer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import InternalError, Overloaded, StartupError
from llmlb.http.intake.spool import IN_MEMORY_BYTES, Spool, SpooledFile
from tests.fakes.house import run_inline

T = TypeVar("T")

LARGE = 3 * IN_MEMORY_BYTES


def spool_in(directory: Path, limit_bytes: int = 10**9) -> Spool:
    return Spool(directory, limit_bytes, run_inline)


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def read(file: SpooledFile, start: int = 0, end: int | None = None) -> bytes:
    end = file.size_bytes if end is None else end
    whole = b""
    while start + len(whole) < end:
        whole += await file.read(start + len(whole), end)
    return whole


@given(
    sizes=st.lists(st.integers(0, IN_MEMORY_BYTES) | st.just(IN_MEMORY_BYTES + 1), max_size=6),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_what_was_written_is_read_as_often_as_need_be(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cut: tuple[float, float]
) -> None:
    async def check() -> None:
        spool = spool_in(tmp_path_factory.getbasetemp())
        file = SpooledFile(spool)
        pieces = [bytes([n]) * size for n, size in enumerate(sizes)]
        for piece in pieces:
            await file.write(piece)
        whole = b"".join(pieces)
        assert file.size_bytes == len(whole)
        start, end = sorted(int(share * len(whole)) for share in cut)
        for _ in range(2):
            assert await read(file) == whole
            assert await read(file, start, end) == whole[start:end]
        assert spool.held_bytes <= len(whole) < spool.held_bytes + IN_MEMORY_BYTES + 1
        file.close()
        assert spool.held_bytes == 0

    trio.run(check)


async def test_what_is_small_never_touches_the_disk(tmp_path: Path) -> None:
    async def no_thread(work: Callable[[], T], /) -> T:
        raise AssertionError("the disk was asked")

    file = SpooledFile(Spool(tmp_path, 0, no_thread))
    await file.write(bytes(IN_MEMORY_BYTES))
    assert len(await read(file)) == IN_MEMORY_BYTES
    file.close()


async def test_a_file_has_no_name_and_is_gone_when_it_is_closed(tmp_path: Path) -> None:
    file = SpooledFile(spool_in(tmp_path))
    await file.write(bytes(LARGE))
    assert not files_in(tmp_path)
    descriptor = file._fd
    assert descriptor is not None
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_all_files_together_are_bounded(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, LARGE)
    first, second = SpooledFile(spool), SpooledFile(spool)
    await first.write(bytes(LARGE - 1))
    with pytest.raises(Overloaded) as caught:
        await second.write(bytes(LARGE))
    assert (caught.value.error_code(), caught.value.retry_after_s) == ("overloaded", 5)
    second.close()
    first.close()
    assert spool.held_bytes == 0
    third = SpooledFile(spool)
    await third.write(bytes(LARGE))
    third.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_503(tmp_path: Path, number: int) -> None:
    async def full(work: Callable[[], T], /) -> T:
        raise OSError(number, os.strerror(number))

    spool = Spool(tmp_path, 10**9, full)
    file = SpooledFile(spool)
    with pytest.raises(Overloaded, match="no room"):
        await file.write(bytes(LARGE))
    file.close()
    assert spool.held_bytes == 0


async def test_a_broken_disk_is_500_and_says_nothing_of_where(tmp_path: Path) -> None:
    async def broken(work: Callable[[], T], /) -> T:
        raise OSError(errno.EIO, "Input/output error", "/secret/place")

    file = SpooledFile(Spool(tmp_path, 10**9, broken))
    with pytest.raises(InternalError) as caught:
        await file.write(bytes(LARGE))
    assert "secret" not in str(caught.value)
    file.close()


async def test_a_disk_that_does_not_give_back_what_it_took_is_500(tmp_path: Path) -> None:
    answers: list[Callable[[], object]] = []

    async def forgetful(work: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        if answers:
            return answers.pop()()  # type: ignore[return-value]
        return work()

    def unreadable() -> object:
        raise OSError(errno.EIO, "Input/output error")

    file = SpooledFile(Spool(tmp_path, 10**9, forgetful))
    await file.write(bytes(LARGE))
    for answer in (unreadable, lambda: b"short"):
        answers.append(answer)
        with pytest.raises(InternalError):
            await read(file)
    assert len(await read(file)) == LARGE
    file.close()


async def test_nothing_is_read_of_a_file_that_is_closed(tmp_path: Path) -> None:
    file = SpooledFile(spool_in(tmp_path))
    await file.write(bytes(LARGE))
    await file.read(0, LARGE)
    file.close()
    with pytest.raises(InternalError):
        await file.read(0, LARGE)


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    spool_in(tmp_path / "a" / "spool").prepare()
    assert (tmp_path / "a" / "spool").stat().st_mode & 0o777 == 0o700
    assert not list((tmp_path / "a" / "spool").iterdir())


def test_a_directory_that_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="LLMLB_SPOOL_DIR"):
        spool_in(tmp_path / "file" / "spool").prepare()
