"""What is understood as a request on a connection of `llmlb serve`, and what is refused."""

from __future__ import annotations

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from llmlb.http.policy import HEADER_BLOCK_LIMIT_BYTES
from llmlb.http.wire.http1 import StrictConnection, screen
from tests.fakes.served import Served
from tests.fakes.wire import Client

LIMIT = HEADER_BLOCK_LIMIT_BYTES
HEAD = b"GET /health HTTP/1.1\r\nhost: x\r\n"
TOKENS = st.from_regex(r"[A-Za-z-]{1,20}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]([ -~]{0,40}[!-~])?", fullmatch=True)


@pytest.fixture(params=["wire", "lane"], autouse=True)
def face(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a connection begins on."""
    monkeypatch.setattr(Client, "by_lane", request.param == "lane")
    return str(request.param)


@given(
    fields=st.lists(st.tuples(TOKENS, VALUES), max_size=20),
    behind=st.binary(max_size=200),
    cut=st.integers(min_value=0),
)
def test_a_head_in_good_order_passes_the_screen_whatever_comes_behind_it(
    fields: list[tuple[str, str]], behind: bytes, cut: int
) -> None:
    lines = ["GET / HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    screen(head + behind)
    screen(head[: cut % len(head)])


@given(at=st.integers(min_value=0, max_value=3), fold=st.sampled_from([b" ", b"\t"]))
def test_a_line_that_ends_or_goes_on_in_its_own_way_does_not_pass(at: int, fold: bytes) -> None:
    lines = [b"GET / HTTP/1.1", b"host: x", b"a: b", b""]
    ends = [b"\r\n"] * 4
    ends[at] = b"\n"
    with pytest.raises(h11.RemoteProtocolError):
        screen(b"".join(line + end for line, end in zip(lines, ends, strict=True)))
    lines[at] = fold + lines[at]
    if at:
        with pytest.raises(h11.RemoteProtocolError):
            screen(b"\r\n".join([*lines, b""]))


@pytest.mark.parametrize("ended", [True, False])
def test_a_head_of_32_kib_passes_in_one_piece_and_a_larger_one_does_not(ended: bool) -> None:
    end = b"\r\n\r\n" if ended else b""
    filler = b"x" * (LIMIT - len(HEAD) - len(b"a: ") - len(end))
    screen(HEAD + b"a: " + filler + end)
    with pytest.raises(h11.RemoteProtocolError) as refused:
        screen(HEAD + b"a: x" + filler + end)
    assert refused.value.error_status_hint == 431


@given(pieces=st.lists(st.binary(max_size=100) | st.sampled_from([HEAD, b"\r\n", b"\n"])))
def test_whatever_comes_is_an_event_or_refused(pieces: list[bytes]) -> None:
    connection = StrictConnection()
    try:
        for piece in filter(None, pieces):
            connection.receive_data(piece)
            while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
                pass
    except h11.RemoteProtocolError:
        assert connection.said, "it is known why"
    assert connection.ahead_bytes <= sum(map(len, pieces))


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (HEAD + b"x: " + b"y" * LIMIT + b"\r\n\r\n", 431, "headers_too_large"),
        (HEAD + b"x: y\r\n" * (LIMIT // 6) + b"\r\n", 431, "headers_too_large"),
        (HEAD + b"x: " + b" " * LIMIT + b"y\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"y" * LIMIT + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"y" * (LIMIT + 1), 431, "headers_too_large"),
        (HEAD + b"transfer-encoding: xchunked\r\n\r\n", 501, "not_implemented"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_value"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "invalid_value"),
        (b"GET /\r\n\r\n", 400, "invalid_value"),
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400, "invalid_value"),
    ],
)
async def test_every_refusal_is_an_openai_error_and_the_last_answer(
    served: Served, nursery: trio.Nursery, sent: bytes, status: int, code: str
) -> None:
    client = Client(served.app, nursery)
    await client.send(sent)

    [answer] = client.answers()
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert client.closed_at_s == 0


@pytest.mark.parametrize(
    "upgrade",
    [
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-extensions: \xff\r\n",
    ],
    ids=["h2c", "websocket"],
)
async def test_a_wish_for_another_protocol_is_passed_over(
    served: Served, nursery: trio.Nursery, upgrade: bytes
) -> None:
    client = Client(served.app, nursery)
    await client.send(HEAD + upgrade + b"\r\n" + HEAD + b"\r\n")

    assert [answer.status for answer in client.answers()] == [200, 200]
