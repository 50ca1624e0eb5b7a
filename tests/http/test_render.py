"""How an error looks on the wire."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from llmlb.errors import (
    EndpointRefusal,
    InvalidRequest,
    LbError,
    ModelNotFound,
    OpenAIError,
    QueueFull,
)
from llmlb.http.render import error_body, error_event, render_error


def test_an_error_has_its_status_its_length_and_the_openai_shape() -> None:
    head, body = render_error(InvalidRequest("'n' must be ä.", param="n"), (("x-a", "1"),))

    assert head.status == 400
    assert head.headers == (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("x-a", "1"),
    )
    assert json.loads(body) == {
        "error": {
            "message": "'n' must be ä.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_value",
        }
    }


def test_when_to_come_back_is_a_header() -> None:
    head, _ = render_error(QueueFull("Later.", retry_after_s=7))
    assert dict(head.headers)["retry-after"] == "7"


def test_an_error_in_a_stream_is_one_event() -> None:
    event = error_event(ModelNotFound("a\nb\r\n\r\ndata: [DONE]"))

    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
    assert b"\r" not in event


@given(message=st.text(st.characters(codec=None)), param=st.none() | st.text())
def test_any_text_can_be_shown(message: str, param: str | None) -> None:
    whole = json.loads(error_body(InvalidRequest(message, param=param)))
    if message.isascii():
        assert whole["error"]["message"] == message
    assert b"\n" not in error_event(InvalidRequest(message))[:-2]


def test_half_a_surrogate_pair_can_be_shown() -> None:
    half = "a\ud83d"
    said = json.loads(error_body(EndpointRefusal(400, OpenAIError(half, half, half, half))))
    assert set(said["error"].values()) == {"a?"}


def test_an_error_of_no_kind_is_ours() -> None:
    head, body = render_error(LbError("Oh."))
    assert head.status == 500
    assert json.loads(body)["error"]["type"] == "server_error"
