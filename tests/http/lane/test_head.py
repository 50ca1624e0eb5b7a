"""Which heads take the lane, and that the lane reads them as the other way does."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.lane.head import lane_head
from llmlb.http.policy import HEADER_BLOCK_LIMIT_BYTES
from llmlb.types import Api

LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
PLAIN = LINE + b"host: x\r\ncontent-length: 2\r\n\r\n"

TOKENS = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
VALUES = st.from_regex(r"[!-~\x80-\xff]([ \t!-~\x80-\xff]{0,40}[!-~\x80-\xff])?", fullmatch=True)


@pytest.mark.parametrize(
    ("target", "api"),
    [
        ("/v1/chat/completions", Api.CHAT_COMPLETIONS),
        ("/v1/completions", Api.COMPLETIONS),
        ("/v1/embeddings", Api.EMBEDDINGS),
        ("/v1/responses", Api.RESPONSES),
        ("/v1/messages", Api.MESSAGES),
        ("/v1/messages?beta=true", Api.MESSAGES),
    ],
)
def test_five_routes_take_the_lane(target: str, api: Api) -> None:
    head = lane_head(b"POST %b HTTP/1.1\r\nHost: x\r\nX-Y:  z \r\n\r\n{}" % target.encode())
    assert head is not None
    assert (head.api, head.path) == (api, target.partition("?")[0])
    assert head.headers == {"host": "x", "x-y": "z"}
    assert (head.body_bytes, head.keeps_alive) == (0, True)


def test_what_is_known_of_a_body_is_its_length_and_of_the_head_its_own() -> None:
    head = lane_head(PLAIN + b"{}POST /next")
    assert head is not None
    assert (head.size_bytes, head.body_bytes) == (len(PLAIN), 2)


@pytest.mark.parametrize(
    "received",
    [
        b"",
        PLAIN[:-1],
        b"\r\n" + PLAIN,
        PLAIN.replace(b"POST", b"GET"),
        PLAIN.replace(b"POST", b"post"),
        PLAIN.replace(b"/v1/chat", b"/v1//chat"),
        PLAIN.replace(b"/v1/chat", b"/v1/%63hat"),
        PLAIN.replace(b"/v1/chat", b"http://x/v1/chat"),
        PLAIN.replace(b"completions", b"completions/"),
        PLAIN.replace(b"completions", b"completions#x"),
        PLAIN.replace(b"completions", b"completions?\xff"),
        PLAIN.replace(b"completions", b"completions? "),
        PLAIN.replace(b"completions HTTP", b"completions  HTTP"),
        PLAIN.replace(b"1.1\r\n", b"1.1\n", 1),
        PLAIN.replace(b"1.1", b"1.0", 1),
        PLAIN.replace(b"1.1", b"2.0", 1),
        PLAIN.replace(b"host: x", b"host: x\r\nhost: x"),
        PLAIN.replace(b"host: x\r\n", b""),
        PLAIN.replace(b"host:", b"host :"),
        PLAIN.replace(b"host: x", b"host: x\r\n y"),
        PLAIN.replace(b"host: x", b"host: x\r\n\ty"),
        PLAIN.replace(b"x\r\ncontent", b"x\ncontent"),
        PLAIN.replace(b"x\r\ncontent", b"x\rcontent"),
        PLAIN.replace(b": x", b": \x00"),
        PLAIN.replace(b": x", b": \x7f"),
        PLAIN.replace(b"length: 2", b"length: +2"),
        PLAIN.replace(b"length: 2", b"length: 2, 2"),
        PLAIN.replace(b"length: 2", b"length: 2\r\ncontent-length: 2"),
        PLAIN.replace(b"length: 2", b"length: 2\r\ncontent-length: 3"),
        PLAIN.replace(b"length: 2", b"length: 0x2"),
        PLAIN.replace(b"length: 2", b"length: \xb2"),
        PLAIN.replace(b"length: 2", b"length: 1" + b"0" * 30),
        PLAIN.replace(b"content-length: 2", b"transfer-encoding: chunked"),
        PLAIN.replace(b"length: 2", b"length: 2\r\ntransfer-encoding: chunked"),
        PLAIN.replace(b"length: 2", b"length: 2\r\nTransfer-Encoding: identity"),
        PLAIN.replace(b"length: 2", b"length: 2\r\nExpect: 100-continue"),
        PLAIN.replace(b"length: 2", b"length: 2\r\nConnection: upgrade\r\nUpgrade: h2c"),
        LINE + b"host: x\r\nx: " + b"y" * HEADER_BLOCK_LIMIT_BYTES + b"\r\n\r\n",
    ],
)
def test_everything_else_goes_the_other_way(received: bytes) -> None:
    assert lane_head(received) is None


@given(
    fields=st.lists(st.tuples(TOKENS, VALUES), max_size=20),
    body=st.binary(max_size=50),
    keeps_alive=st.sampled_from(["keep-alive", "close", "Close", "x, close"]),
)
def test_a_head_is_read_as_the_other_way_reads_it(
    fields: list[tuple[str, str]], body: bytes, keeps_alive: str
) -> None:
    ours = {"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect"}
    fields = [(name, value) for name, value in fields if name.lower() not in ours]
    fields += [("Host", "x"), ("Content-Length", str(len(body))), ("Connection", keeps_alive)]
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
    received = LINE + lines + b"\r\n" + body

    head = lane_head(received)

    other = h11.Connection(h11.SERVER)
    other.receive_data(received)
    read = other.next_event()
    assert isinstance(read, h11.Request)
    joined: dict[str, str] = {}
    for raw, told in read.headers:
        name, value = raw.decode("latin-1"), told.decode("latin-1")
        between = "; " if name == "cookie" else ", "
        joined[name] = f"{joined[name]}{between}{value}" if name in joined else value
    assert head is not None
    assert head.headers == joined
    assert head.body_bytes == len(body)
    assert received[head.size_bytes :] == body
    # both close after the answer, or neither does
    while (
        other.next_event() not in (h11.PAUSED, h11.NEED_DATA) and other.their_state is not h11.DONE
    ):
        pass
    assert head.keeps_alive == (other.their_state is not h11.MUST_CLOSE)


@given(received=st.binary(max_size=300) | st.builds(bytes.__add__, st.just(LINE), st.binary()))
def test_whatever_comes_is_a_head_or_not(received: bytes) -> None:
    head = lane_head(received)
    assert head is None or received[: head.size_bytes].endswith(b"\r\n\r\n")
