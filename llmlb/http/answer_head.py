"""What the head of an endpoint's answer says of the body to come, and what of it a client sees."""

from __future__ import annotations

from collections.abc import Mapping

from llmlb.http.downstream import Headers
from llmlb.http.upstream.faults import FaultKind, UpstreamFault
from llmlb.http.upstream.quoting import without_secrets
from llmlb.types import Endpoint

JSON, EVENTS = "application/json", "text/event-stream"

_PASSED_ON = ("content-type", "retry-after")

_AS_IT_IS = ("", "identity")


def refuse_unasked(headers: Mapping[str, str], *, stream: bool) -> None:
    """Raise UpstreamFault for a body that nobody asked for and no client could read.

    *headers* are by lower-case name. What is called JSON is judged by what it holds instead.
    """
    if headers.get("content-encoding", "").strip().lower() not in _AS_IT_IS:
        # A client would not even be told: the header is not passed on.
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint compressed its answer, unasked.")
    are_events = headers.get("content-type", "").strip().lower().startswith(EVENTS)
    if are_events != stream:
        how = "answered" if are_events else "did not answer"
        raise UpstreamFault(FaultKind.BAD_ANSWER, f"The endpoint {how} with an event stream.")


def for_client(
    headers: Mapping[str, str], *, ours: str | None = None, endpoint: Endpoint | None = None
) -> Headers:
    """Those of *headers* that a client gets to see; *ours* is the content type, if we know it.

    None of them repeats a key or an extra header of *endpoint*.
    """
    shown = [
        (name, value)
        for name, value in headers.items()
        if (name in _PASSED_ON or name.startswith("x-ratelimit-"))
        and not (ours is not None and name == "content-type")
        and (endpoint is None or without_secrets(value, endpoint) == value)
    ]
    return (*shown, ("content-type", ours)) if ours is not None else tuple(shown)


def json_unless_named(headers: Mapping[str, str]) -> str | None:
    """The content type of what has turned out to be JSON; None if the endpoint calls it so, too.

    SDKs go by the name, and give their callers a string for what is not called JSON.
    """
    named = headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if named.endswith("json") else JSON
