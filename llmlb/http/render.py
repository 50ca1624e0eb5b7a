"""How an error looks on the wire: one place for every face and every route."""

from __future__ import annotations

import json

from llmlb.errors import LbError
from llmlb.http.downstream import Head, Headers


def error_body(error: LbError) -> bytes:
    """The OpenAI error object as JSON."""
    # Half a surrogate pair, as an endpoint may quote one, cannot be encoded.
    return json.dumps(error.openai().as_json(), ensure_ascii=False).encode(errors="replace")


def error_event(error: LbError) -> bytes:
    """The error as the last event of a chat or completions stream."""
    return b"data: " + error_body(error) + b"\n\n"


def typed_error_event(error: LbError) -> bytes:
    """The error as the last event of a stream of typed events.

    In OpenAI's documents the fields stand in the event, and its own package looks for them in
    an `error` object; so they are in both.
    """
    said = error.openai()
    event = {
        "type": "error",
        "code": said.code,
        "message": said.message,
        "param": said.param,
        **said.as_json(),
    }
    text = json.dumps(event, ensure_ascii=False).encode(errors="replace")
    return b"event: error\ndata: " + text + b"\n\n"


def render_error(
    error: LbError, headers: Headers = (), body: bytes | None = None
) -> tuple[Head, bytes]:
    """Head and body of the response that carries *error*; *headers* are added to it.

    *body* is the error in the words of another dialect than OpenAI's.
    """
    body = error_body(error) if body is None else body
    own: list[tuple[str, str]] = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
    ]
    if error.retry_after_s is not None:
        own.append(("retry-after", str(error.retry_after_s)))
    if error.http_status() == 401:
        own.append(("www-authenticate", 'Bearer realm="llmlb"'))
    return Head(error.http_status(), (*own, *headers)), body
