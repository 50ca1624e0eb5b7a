"""What an endpoint's bytes are taken for, however they are cut, and however they lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.upstream.parser import MAX_FRAMING_BYTES, MAX_REPEATED, AnswerParser, Ended, NotHttp

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def read(data: bytes, *cuts: int, ends: bool = False, bodyless: bool = False) -> AnswerParser:
    """All of *data*, cut at *cuts*; its pieces are joined into one."""
    parser, body = AnswerParser(), b""
    parser.expect(bodyless=bodyless)
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        if start < end:
            parser.feed(data[start:end])
            body += parser.take()
    if ends:
        parser.feed_end()
    parser.pieces = [body]
    return parser


WHOLE = [
    (OK + b"content-length: 5\r\n\r\nhello", 200, b"hello", True),
    (OK + b"Content-Length:5 \t\r\nConnection: close\r\n\r\nhello", 200, b"hello", False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello", False),
    (CHUNKED + b"3;why=not\r\nhel\r\n2\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n", 200, b"hello", True),
    (OK + b"Transfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, b"x", True),
    (b"HTTP/1.1 204 No\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", 304, b"", True),
    (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 x\r\nx: y\r\n\r\n" + OK + b"content-length: 1\r\n\r\nx",
     200, b"x", True),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status", "body", "reusable"), WHOLE)
@given(cuts=st.lists(st.integers(0, 200)))
def test_a_whole_answer_is_the_same_however_it_is_cut(
    data: bytes, status: int, body: bytes, reusable: bool, cuts: list[int]
) -> None:
    parser = read(data, *sorted(min(cut, len(data)) for cut in cuts))
    assert (parser.status, parser.take(), parser.complete) == (status, body, True)
    assert parser.reusable is reusable
    assert not parser.headers.keys() & {"x", "x-trailer"}


@pytest.mark.parametrize(("data", "status", "body", "reusable"), WHOLE)
def test_half_an_answer_has_ended_too_early(
    data: bytes, status: int, body: bytes, reusable: bool
) -> None:
    for length in range(1, len(data)):
        parser = read(data[:length])
        assert not parser.complete
        with pytest.raises(Ended):
            parser.feed_end()


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    parser = read(OK + b"\r\nall of it", 25, ends=True)
    assert (parser.take(), parser.complete, parser.reusable) == (b"all of it", True, False)


@pytest.mark.parametrize("head", [b"content-length: 9\r\n", b"transfer-encoding: chunked\r\n", b""])
def test_an_answer_to_head_ends_with_its_head(head: bytes) -> None:
    parser = read(OK + head + b"\r\n", bodyless=True)
    assert (parser.status, parser.complete, parser.reusable) == (200, True, False)
    assert read(OK + b"content-length: 2\r\n\r\nxx", bodyless=True).take() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok",
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok",
        OK + b"content-length: 2, 2\r\n\r\nok",
        OK + b"content-length: +2\r\n\r\nok",
        OK + b"content-length: -2\r\n\r\nok",
        OK + b"content-length: 0x2\r\n\r\nok",
        OK + b"content-length: 99999999999999999999\r\n\r\nok",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip\r\n\r\nx",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: xchunked\r\n\r\nx",
        OK + b"x: a\r\n b\r\n\r\n",
        OK + b"x : a\r\n\r\n",
        OK + b": a\r\n\r\n",
        OK + b"x: a\x00b\r\n\r\n",
        OK + b"x: a\rcontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nx",
        CHUNKED + b"1\nx\n0\n\n",
        CHUNKED + b"1\r\nxx\r\n",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_not_read(data: bytes) -> None:
    for cut in (len(data), len(data) // 2):
        with pytest.raises(NotHttp):
            read(data, cut).feed(b"\r\n")


def test_what_was_good_is_given_out_before_the_rest_is_refused() -> None:
    parser = AnswerParser()
    parser.feed(CHUNKED + b"2\r\nok\r\nzz\r\n")
    assert (parser.take(), parser.complete) == (b"ok", False)
    with pytest.raises(NotHttp):
        parser.feed(b"anything")
    with pytest.raises(NotHttp):
        parser.feed_end()


SPLIT = OK + b"content-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "after", [b"x", b"H", SPLIT, OK + b"x: y", b"\0", b"HTTP/1.1 100 Go\r\n\r\n"]
)
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "whole", [SPLIT, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", OK + b"connection: close\r\n" + SPLIT[17:]]
)
def test_what_comes_after_an_answer_is_nobodys_and_nothing_comes_after_that(
    whole: bytes, after: bytes, at_once: bool
) -> None:
    parser = read(whole + after) if at_once else read(whole + after, len(whole))
    assert (parser.status, parser.take(), parser.complete) == (200, b"ok", True)
    assert not parser.reusable
    assert "x" not in parser.headers


def flood(start: bytes, again: bytes, times: int = 10_000) -> int:
    """How many bytes are taken of *start* and *again* and *again* before it is refused."""
    parser, taken = AnswerParser(), len(start)
    parser.feed(start)
    parser.pieces.clear()
    for _ in range(times):
        taken += len(again)
        try:
            parser.feed(again)
        except NotHttp:
            return taken
    raise AssertionError("it is never refused")


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"HTTP/1.1 200 ", b"O" * 1000),
        (OK + b"x: ", b"y" * 1000),
        (OK, b"x" * 1000),
        (b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n"),
        (b"\r\n", b"\r\n" * 500),
        (CHUNKED + b"1;", b"x" * 1000),
        (CHUNKED + b"1;a=\"", b"x" * 1000),
        (CHUNKED, b"0" * 1000),
        (CHUNKED + b"0\r\n", b"x: y\r\n" * 100),
        (CHUNKED + b"0\r\nx: ", b"y" * 1000),
    ],
)  # fmt: skip
def test_nothing_that_is_no_body_goes_on_for_ever(start: bytes, again: bytes) -> None:
    assert flood(start, again) <= MAX_FRAMING_BYTES + len(start) + len(again)


def test_headers_that_are_said_again_and_again_are_refused() -> None:
    assert flood(OK, b"x: y\r\n") <= len(OK) + (MAX_REPEATED + 3) * 6


def test_one_answer_after_the_other_holds_nothing_of_the_one_before() -> None:
    parser = AnswerParser()
    for status in (200, 404):
        parser.expect()
        assert (parser.begun, parser.head_complete, parser.complete) == (False, False, False)
        parser.feed(b"HTTP/1.1 %d X\r\nx-%d: 1\r\ncontent-length: 1\r\n\r\nx" % (status, status))
        assert parser.headers == {f"x-{status}": "1", "content-length": "1"}
        assert (parser.status, parser.take(), parser.reusable) == (status, b"x", True)
