"""Errors in Anthropic's shape, by their status."""

from __future__ import annotations

import json

import pytest

from llmlb.errors import (
    EndpointRefusal,
    LbError,
    ModelNotFound,
    NoCapableEndpoints,
    OpenAIError,
    QueueFull,
    UpstreamError,
    UpstreamTimeout,
)
from llmlb.http.anthropic.errors import error_body, error_event, error_type


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelNotFound("x"), "not_found_error"),
        (QueueFull("x"), "rate_limit_error"),
        (UpstreamError("x"), "api_error"),
        (UpstreamTimeout("x"), "timeout_error"),
        (NoCapableEndpoints("x"), "overloaded_error"),
        (EndpointRefusal(422, OpenAIError("x", "odd", None)), "invalid_request_error"),
    ],
)
def test_an_error_has_anthropics_type(error: LbError, kind: str) -> None:
    assert json.loads(error_body(error, "req-1")) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req-1",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (500, "api_error"),
        (501, "api_error"),
        (508, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_every_status_has_a_type(status: int, kind: str) -> None:
    assert error_type(status) == kind


def test_an_error_ends_a_stream_as_an_event_of_its_own() -> None:
    event = error_event(UpstreamError("half a pair: \ud800"))
    first, second, *rest = event.decode().split("\n")
    assert first == "event: error"
    assert json.loads(second.removeprefix("data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "half a pair: ?"},
    }
    assert rest == ["", ""]
