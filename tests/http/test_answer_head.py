"""What an answer's head says of its body, and what of it a client gets to see."""

from __future__ import annotations

import pytest

from llmlb.http.answer_head import for_client, json_unless_named, refuse_unasked
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from tests.fakes.upstream import make_endpoint


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_asked_for_is_let_through(encoding: str, stream: bool) -> None:
    content_type = " Text/Event-Stream; charset=utf-8" if stream else "application/json"
    refuse_unasked({"content-type": content_type, "content-encoding": encoding}, stream=stream)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_compressed_is_refused(encoding: str, stream: bool) -> None:
    content_type = "text/event-stream" if stream else "audio/mpeg"
    headers = {"content-type": content_type, "content-encoding": encoding}
    with pytest.raises(UpstreamFault, match="compressed") as caught:
        refuse_unasked(headers, stream=stream)
    assert caught.value.kind is FaultKind.BAD_ANSWER


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}])
def test_a_stream_has_to_be_one(headers: dict[str, str]) -> None:
    refuse_unasked(headers, stream=False)
    with pytest.raises(UpstreamFault, match="did not answer with an event stream"):
        refuse_unasked(headers, stream=True)


def test_a_plain_answer_may_be_none() -> None:
    with pytest.raises(UpstreamFault, match="answered with an event stream"):
        refuse_unasked({"content-type": "text/event-stream"}, stream=False)


def test_our_own_content_type_stands_in_the_place_of_the_endpoints() -> None:
    headers = {"content-type": "text/plain", "x-ratelimit-a": "1", "server": "x"}
    assert for_client(headers) == (("content-type", "text/plain"), ("x-ratelimit-a", "1"))
    assert for_client(headers, ours="a/b") == (("x-ratelimit-a", "1"), ("content-type", "a/b"))
    assert for_client({}, ours="a/b") == (("content-type", "a/b"),)


def test_what_repeats_a_secret_of_the_endpoint_is_not_for_a_client() -> None:
    endpoint = make_endpoint(api_key="sk-12345", extra_headers=(("x-a", "tenant"), ("x-b", "1")))
    headers = {"retry-after": "1", "x-ratelimit-a": "k=sk-12345", "x-ratelimit-b": "tenant;1"}
    assert for_client(headers, endpoint=endpoint) == (("retry-after", "1"),)
    assert for_client(headers, endpoint=make_endpoint()) == tuple(headers.items())


@pytest.mark.parametrize(
    ("named", "ours"),
    [
        ({}, "application/json"),
        ({"content-type": "text/html; charset=utf-8"}, "application/json"),
        ({"content-type": "application/json; charset=utf-8"}, None),
        ({"content-type": "Application/Problem+JSON"}, None),
    ],
)
def test_json_is_called_json(named: dict[str, str], ours: str | None) -> None:
    assert json_unless_named(named) == ours
