"""The event scanner: where one event ends and the next begins, however the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmlb.http.sse import EventScanner, Piece, data_of, error_of, type_of

LINE_ENDS = (b"\n", b"\r\n", b"\r")

lines = st.one_of(
    st.sampled_from(
        [
            b"data: {}",
            b'data: {"a":"\xc3\xa9"}',
            b"data:",
            b"data",
            b": comment",
            b"event: error",
            b"id: 1",
            b"",
            b"\xff\xfe",
            b"data: " + b"x" * 50,
        ]
    ),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")),
)

streams = st.lists(st.tuples(lines, st.sampled_from(LINE_ENDS)), max_size=30).map(
    lambda parts: b"".join(line + end for line, end in parts)
)


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """*stream* in any pieces, empty ones among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def scanned(reads: list[bytes], limit_bytes: int = 64 * 1024) -> tuple[list[Piece], bytes]:
    scanner = EventScanner(limit_bytes)
    pieces = [piece for read in reads for piece in scanner.feed(read)]
    return pieces, scanner.rest()


def said(pieces: list[Piece]) -> list[tuple[bytes | None, bytes]]:
    """What the events say, leaving out those that say nothing."""
    events = [(data_of(piece.raw), type_of(piece.raw)) for piece in pieces]
    return [event for event in events if event != (None, b"")]


@pytest.mark.parametrize("end", LINE_ENDS)
def test_an_event_ends_with_a_blank_line(end: bytes) -> None:
    one, two = b"data: 1" + end + end, b": x" + end + b"data: 2" + end + end

    pieces, rest = scanned([one + two + b"data: 3" + end])

    assert pieces == [Piece(one, whole=True), Piece(two, whole=True)]
    assert rest == b"data: 3" + end


@pytest.mark.parametrize(
    "blank", [a + b for a in LINE_ENDS for b in LINE_ENDS if (a, b) != (b"\r", b"\n")]
)
def test_line_ends_may_be_mixed(blank: bytes) -> None:
    stream = b"data: 1" + blank + b"data: 2\n\n"

    for reads in ([stream], [bytes([byte]) for byte in stream]):
        pieces, rest = scanned(reads)
        assert said(pieces) == [(b"1", b""), (b"2", b"")]
        assert rest == b""


def test_cr_and_lf_together_are_one_line_end() -> None:
    pieces, _ = scanned([b"data: 1\r", b"\ndata: 2\r\n", b"\r", b"\n"])

    assert pieces == [Piece(b"data: 1\r\ndata: 2\r\n\r\n", whole=True)]
    assert data_of(pieces[0].raw) == b"1\n2"


@given(data=st.data(), stream=streams)
def test_no_byte_is_lost_added_or_moved(data: st.DataObject, stream: bytes) -> None:
    pieces, rest = scanned(data.draw(cut(stream)), data.draw(st.integers(4, 60)))

    assert b"".join(piece.raw for piece in pieces) + rest == stream
    assert all(piece.raw for piece in pieces)


@given(data=st.data(), stream=streams)
@example(data=None, stream=b"data: 1\r\n\r\r\ndata: 2\n\r\r\n")
def test_every_split_says_the_same(data: st.DataObject | None, stream: bytes) -> None:
    reads = [bytes([byte]) for byte in stream] if data is None else data.draw(cut(stream))
    whole, rest_of_whole = scanned([stream])
    pieces, rest = scanned(reads)

    assert said(pieces) == said(whole)
    assert data_of(rest) == data_of(rest_of_whole)


@given(data=st.data(), stream=streams, limit_bytes=st.integers(4, 60))
def test_every_split_finds_the_same_whole_events(
    data: st.DataObject, stream: bytes, limit_bytes: int
) -> None:
    def whole_ones(reads: list[bytes]) -> list[tuple[bytes | None, bytes]]:
        return said([piece for piece in scanned(reads, limit_bytes)[0] if piece.whole])

    assert whole_ones(data.draw(cut(stream))) == whole_ones([stream])


@given(data=st.data(), stream=streams, limit_bytes=st.integers(4, 60))
def test_what_is_held_is_bounded(data: st.DataObject, stream: bytes, limit_bytes: int) -> None:
    scanner = EventScanner(limit_bytes)
    for read in data.draw(cut(stream)):
        scanner.feed(read)
        assert len(scanner._held) <= limit_bytes


def test_an_event_as_long_as_the_limit_is_still_whole() -> None:
    event = b"data: " + b"x" * 52 + b"\n\n"
    pieces, _ = scanned([event[:20], event[20:60], event[60:]], limit_bytes=60)

    assert pieces == [Piece(event, whole=True)]


def test_a_longer_event_comes_in_parts_and_the_next_one_is_whole_again() -> None:
    event = b"data: " + b"x" * 500 + b"\n\n"
    pieces, rest = scanned([event[i : i + 7] for i in range(0, len(event), 7)], limit_bytes=60)

    assert b"".join(piece.raw for piece in pieces) == event
    assert not any(piece.whole for piece in pieces)
    assert rest == b""

    pieces, _ = scanned([event, b"data: 1\n\n"], limit_bytes=60)
    assert pieces[-1] == Piece(b"data: 1\n\n", whole=True)


def test_an_end_that_is_cut_in_two_by_the_limit_is_found() -> None:
    for length in range(40, 70):
        event = b"data: " + b"x" * length + b"\r\n\r\n"
        for split in range(len(event)):
            pieces, rest = scanned([event[:split], event[split:], b"data: 1\n\n"], limit_bytes=60)
            assert pieces[-1] == Piece(b"data: 1\n\n", whole=True)
            assert rest == b""


def test_many_events_in_one_read_take_no_more_than_linear_time() -> None:
    pieces, _ = scanned([b"data: 1\n\n" * 50_000])
    assert len(pieces) == 50_000


def test_one_long_event_byte_by_byte_takes_no_more_than_linear_time() -> None:
    event = b"data: " + b"x" * 60_000 + b"\n\n"
    pieces, _ = scanned([event[i : i + 1] for i in range(len(event))])
    assert pieces == [Piece(event, whole=True)]


def test_the_rest_is_told_once() -> None:
    scanner = EventScanner()
    scanner.feed(b"data: 1")
    assert (scanner.rest(), scanner.rest()) == (b"data: 1", b"")


@pytest.mark.parametrize(
    ("event", "data", "kind"),
    [
        (b"data: 1\n\n", b"1", b""),
        (b"data:1\n\n", b"1", b""),
        (b"data:  1\n\n", b" 1", b""),
        (b"data: a\ndata: b\n\n", b"a\nb", b""),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb", b""),
        (b"data: a\rdata: b\r\r", b"a\nb", b""),
        (b"event: error\ndata: 1\n\n", b"1", b"error"),
        (b"data: 1\nevent:ping\n\n", b"1", b"ping"),
        (b": data: 1\n\n", None, b""),
        (b"data\xc2\x85: 1\n\n", None, b""),
        (b"data: a\xe2\x80\xa8b\x0bc\n\n", b"a\xe2\x80\xa8b\x0bc", b""),
        (b"\n\n", None, b""),
        (b"", None, b""),
        (b"data\n\n", b"", b""),
        (b"data: a\ndata\ndata: b\n\n", b"a\n\nb", b""),
        (b"database: 1\n\n", None, b""),
        (b"event: a\nevent: b\n\n", None, b"b"),
        (b"event: a\nevent\n\n", None, b""),
        (b"\xef\xbb\xbfdata: 1\n\n", b"1", b""),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", None, b""),
    ],
)
def test_what_an_event_says(event: bytes, data: bytes | None, kind: bytes) -> None:
    assert data_of(event) == data
    assert type_of(event) == kind


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b"error: {}\n\n", b"{}"),
        (b"\r\nid: 1\r\nerror:x\r\n\r\n", b"x"),
        (b"event: error\n\n", None),
        (b"errors: x\n\n", None),
    ],
)
def test_an_error_may_be_a_field_of_its_own(event: bytes, error: bytes | None) -> None:
    assert error_of(event) == error


def test_of_a_long_event_the_last_part_is_marked() -> None:
    event = b"data: " + b"x" * 500 + b"\r\n\r\n"
    for read_bytes in (1, 7, 61, 1000):
        reads = [event[i : i + read_bytes] for i in range(0, len(event), read_bytes)]
        pieces, _ = scanned([*reads, b"data: 1\n\n"], limit_bytes=60)
        assert [piece.last for piece in pieces[:-2]] == [False] * (len(pieces) - 2)
        assert pieces[-2].last
        assert pieces[-2].raw.endswith(b"\r\n\r\n")


@given(data=st.data(), stream=streams, limit_bytes=st.integers(4, 60))
def test_the_parts_of_each_event_make_it_up(
    data: st.DataObject, stream: bytes, limit_bytes: int
) -> None:
    pieces, rest = scanned(data.draw(cut(stream)), limit_bytes)
    events, held = [], b""
    for piece in pieces:
        assert not (piece.whole and held)
        held += piece.raw
        if piece.last:
            events.append((data_of(held), type_of(held)))
            held = b""
    whole, whole_rest = scanned([stream])
    assert [one for one in events if one != (None, b"")] == said(whole)
    assert data_of(held + rest) == data_of(whole_rest)
