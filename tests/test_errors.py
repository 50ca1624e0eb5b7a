"""Every error's status, type and code, as clients rely on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmlb import errors
from llmlb.errors import (
    EndpointRefusal,
    InvalidRequest,
    LbError,
    ModelNotFound,
    OpenAIError,
    ProbeFailed,
    QueueFull,
    StartupError,
)

TABLE = {
    "LbError": (500, "server_error", "internal_error"),
    "InternalError": (500, "server_error", "internal_error"),
    "InvalidRequest": (400, "invalid_request_error", "invalid_value"),
    "InvalidJson": (400, "invalid_request_error", "invalid_json"),
    "MissingField": (400, "invalid_request_error", "missing_field"),
    "UnsupportedCapability": (400, "invalid_request_error", "unsupported_capability"),
    "AuthenticationError": (401, "authentication_error", "invalid_api_key"),
    "MissingCredential": (401, "authentication_error", "missing_api_key"),
    "ExpiredApiKey": (401, "authentication_error", "expired_api_key"),
    "InvalidSession": (401, "authentication_error", "invalid_session"),
    "WrongPassword": (401, "authentication_error", "invalid_credentials"),
    "PermissionDenied": (403, "permission_error", "insufficient_permissions"),
    "PasswordChangeRequired": (403, "permission_error", "password_change_required"),
    "CsrfFailed": (403, "permission_error", "csrf_failed"),
    "RateLimitExceeded": (429, "rate_limit_error", "rate_limit_exceeded"),
    "SetupRequired": (403, "permission_error", "setup_required"),
    "OriginNotAllowed": (403, "permission_error", "origin_not_allowed"),
    "ModelNotFound": (404, "invalid_request_error", "model_not_found"),
    "NotFound": (404, "not_found_error", "not_found"),
    "MethodNotAllowed": (405, "invalid_request_error", "method_not_allowed"),
    "RequestTimedOut": (408, "timeout_error", "request_timeout"),
    "Conflict": (409, "invalid_request_error", "conflict"),
    "RequestTooLarge": (413, "invalid_request_error", "request_too_large"),
    "UnsupportedMediaType": (415, "invalid_request_error", "unsupported_media_type"),
    "HeadersTooLarge": (431, "invalid_request_error", "headers_too_large"),
    "QueueFull": (429, "rate_limit_error", "queue_full"),
    "UpstreamRateLimited": (429, "rate_limit_error", "upstream_rate_limited"),
    "NotImplementedYet": (501, "invalid_request_error", "not_implemented"),
    "UpstreamError": (502, "upstream_error", "upstream_error"),
    "UpstreamUnreachable": (502, "upstream_error", "upstream_unreachable"),
    "NoCapableEndpoints": (503, "service_unavailable", "no_capable_endpoints"),
    "EndpointOffline": (503, "service_unavailable", "endpoint_offline"),
    "Overloaded": (503, "service_unavailable", "overloaded"),
    "ResponseStateUnavailable": (503, "service_unavailable", "response_state_unavailable"),
    "ShuttingDown": (503, "service_unavailable", "shutting_down"),
    "StoreUnavailable": (503, "service_unavailable", "store_unavailable"),
    "QueueTimeout": (504, "timeout_error", "queue_timeout"),
    "UpstreamTimeout": (504, "timeout_error", "upstream_timeout"),
    "OwnTimeOver": (504, "timeout_error", "upstream_timeout"),
    "LoopDetected": (508, "upstream_error", "loop_detected"),
}
"""The table of the HTTP surface; EndpointRefusal carries what the endpoint said."""


def all_classes(base: type[LbError] = LbError) -> Iterator[type[LbError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__ == errors.__name__:
            yield from all_classes(derived)


def made(kind: type[LbError]) -> LbError:
    return ModelNotFound("m") if kind is ModelNotFound else kind("What happened.")


def test_the_table_names_every_class() -> None:
    assert {kind.__name__ for kind in all_classes()} == {*TABLE, "EndpointRefusal"}


@pytest.mark.parametrize(
    "kind", [k for k in all_classes() if k is not EndpointRefusal], ids=lambda k: k.__name__
)
def test_status_type_and_code_are_those_of_the_table(kind: type[LbError]) -> None:
    error = made(kind)
    expected = TABLE[kind.__name__]
    assert (error.http_status(), error.error_type(), error.error_code()) == expected
    body = error.openai().as_json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert (body["error"]["type"], body["error"]["code"]) == expected[1:]
    assert body["error"]["message"] == str(error) == error.message


def test_an_error_can_name_a_field_and_a_code_of_its_own() -> None:
    error = InvalidRequest("'n' must be 1.", param="n", code="unsupported_value")
    assert error.openai() == OpenAIError(
        "'n' must be 1.", "invalid_request_error", "unsupported_value", "n"
    )
    assert error.error_code() == "unsupported_value"


def test_an_error_can_say_when_to_come_back() -> None:
    assert QueueFull("Full.", retry_after_s=7).retry_after_s == 7
    assert QueueFull("Full.").retry_after_s is None


def test_an_unknown_model_is_named_but_not_at_any_length() -> None:
    error = ModelNotFound("gpt-oss:20b")
    assert error.message == "The model 'gpt-oss:20b' does not exist."
    assert error.openai().param == "model"
    assert len(ModelNotFound("x" * 10**6).message) < 300


def test_what_an_endpoint_said_of_the_request_is_passed_on_as_it_is() -> None:
    said = OpenAIError("'messages' is too long.", "invalid_request_error", "too_long", "messages")
    error = EndpointRefusal(422, said)
    assert error.openai() is said
    assert (error.http_status(), error.error_type(), error.error_code()) == (
        422,
        "invalid_request_error",
        "too_long",
    )
    assert (str(error), error.param) == ("'messages' is too long.", "messages")


def test_startup_and_probe_failures_are_not_answers_to_clients() -> None:
    assert not issubclass(StartupError, LbError)
    assert not issubclass(ProbeFailed, LbError)
    assert ProbeFailed("It answered 500.").answered
