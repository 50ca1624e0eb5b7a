"""How an error looks in Anthropic's shape, as a body and inside a stream."""

from __future__ import annotations

import json

from llmlb.errors import LbError

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(status: int) -> str:
    """Anthropic's word for what went wrong, by the status alone."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def error_body(error: LbError, request_id: str | None = None) -> bytes:
    """The JSON body of the response that carries *error*."""
    said: dict[str, object] = {
        "type": "error",
        "error": {"type": error_type(error.http_status()), "message": error.message},
    }
    if request_id is not None:
        said["request_id"] = request_id
    # Half a surrogate pair, as an endpoint may quote one, cannot be encoded.
    return json.dumps(said, ensure_ascii=False).encode(errors="replace")


def error_event(error: LbError, request_id: str | None = None) -> bytes:
    """*error* as the last event of a stream."""
    return b"event: error\ndata: " + error_body(error, request_id) + b"\n\n"
