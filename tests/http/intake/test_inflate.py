"""Compressed bodies: what they unpack to, in any pieces, and what is wrong with the others."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import UnsupportedMediaType
from llmlb.http.intake.inflate import (
    MAX_MEMBERS,
    PIECE_BYTES,
    Inflater,
    InvalidEncoding,
    encoding_of,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
}

each_way = pytest.mark.parametrize("name", PACK)


def unpacked(encoding: str, *pieces: bytes) -> bytes:
    inflater, whole = Inflater(encoding), []
    for piece in pieces:
        for told in inflater.feed(piece):
            assert 0 < len(told) <= PIECE_BYTES
            whole.append(told)
    inflater.finish()
    return b"".join(whole)


@given(
    name=st.sampled_from(list(PACK)),
    data=st.binary(max_size=300) | st.integers(0, 3).map(lambda n: b"ab" * (PIECE_BYTES * n // 2)),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_any_body_in_any_pieces_unpacks_to_itself(name: str, data: bytes, cuts: list[int]) -> None:
    encoding, pack = PACK[name]
    packed = pack(data)
    at = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    pieces = [packed[start:end] for start, end in pairwise(at)]
    assert unpacked(encoding, *pieces) == data


@each_way
def test_a_bomb_comes_out_in_small_pieces(name: str) -> None:
    encoding, pack = PACK[name]
    packed = pack(bytes(50 * 1024 * 1024))
    pieces = Inflater(encoding).feed(packed)
    assert [len(next(pieces)) <= PIECE_BYTES for _ in range(10)] == [True] * 10


@each_way
def test_a_body_that_ends_too_early_is_refused(name: str) -> None:
    encoding, pack = PACK[name]
    with pytest.raises(InvalidEncoding, match="ends before"):
        unpacked(encoding, pack(b"x" * 1000)[:-3])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_nothing_is_no_compressed_body(encoding: str) -> None:
    for pieces in ((), (b"",), (b"x",)):
        with pytest.raises(InvalidEncoding):
            unpacked(encoding, *pieces)


@each_way
def test_what_comes_after_the_end_is_refused(name: str) -> None:
    encoding, pack = PACK[name]
    packed = pack(b"x" * 1000)
    for pieces in ((packed + b"more",), (packed, b"more")):
        with pytest.raises(InvalidEncoding, match=r"goes on after|is not valid"):
            unpacked(encoding, *pieces)
    with pytest.raises(InvalidEncoding, match=r"goes on after|ends before"):
        unpacked(encoding, packed, packed[:1])


@given(
    name=st.sampled_from(["gzip", "zstd"]),
    members=st.lists(st.binary(max_size=100) | st.just(b"ab" * PIECE_BYTES), min_size=1),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_several_members_are_one_body(name: str, members: list[bytes], cuts: list[int]) -> None:
    encoding, pack = PACK[name]
    packed = b"".join(map(pack, members))
    at = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    pieces = [packed[start:end] for start, end in pairwise(at)]
    assert unpacked(encoding, *pieces) == b"".join(members)


def test_several_bodies_of_zlib_are_none() -> None:
    with pytest.raises(InvalidEncoding, match="goes on after"):
        unpacked("deflate", zlib.compress(b"one") + zlib.compress(b"two"))


def test_a_frame_of_zstd_that_is_to_be_skipped_is_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert unpacked("zstd", skipped + zstd.compress(b"x") + skipped) == b"x"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_of_nothing_come_to_an_end(name: str) -> None:
    encoding, pack = PACK[name]
    inflater = Inflater(encoding)
    assert list(inflater.feed(pack(b"") * MAX_MEMBERS)) == []
    inflater.finish()
    with pytest.raises(InvalidEncoding, match="members"):
        list(inflater.feed(pack(b"")))


@given(encoding=st.sampled_from(["gzip", "deflate", "zstd"]), data=st.binary(max_size=100))
def test_no_bytes_break_it(encoding: str, data: bytes) -> None:
    with suppress(InvalidEncoding):
        unpacked(encoding, data)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("X-GZIP", "gzip"),
        (" Deflate ", "deflate"),
        ("identity, zstd", "zstd"),
    ],
)
def test_an_encoding_is_known_by_its_name(header: str, encoding: str | None) -> None:
    assert encoding_of(header) == encoding


@pytest.mark.parametrize("header", ["br", "compress", "gzip, gzip", "gzip, br", "x"])
def test_any_other_is_415(header: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="gzip, deflate or zstd"):
        encoding_of(header)
