"""Is a whole response an answer, what did it cost, and what of it does its endpoint keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from llmlb.accounting import Usage
from llmlb.http.openai.answer import read_object, read_usage
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

_PERHAPS_WITHOUT_OUTPUT = ("queued", "in_progress", "incomplete", "cancelled")
"""Statuses of a response that runs in the background, or got as far as it could."""

MAX_ID_CHARS = 1024
"""What is longer is not remembered: the number of ids is bounded, and so has to be their size."""


def read_response(body: bytes) -> tuple[Usage, tuple[str, ...]]:
    """Usage, and the ids of what is kept, by a plain 2xx body.

    Raises UpstreamFault for one that failed or has no output.

    A response in the background is an answer before it has any output, and so is one that was
    cancelled or is incomplete: another endpoint would not do better.
    """
    response = read_object(body)
    status = response.get("status")
    if status == "failed":
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint answered: the response failed.")
    output = response.get("output")
    if not (isinstance(output, list) and output) and status not in _PERHAPS_WITHOUT_OUTPUT:
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint's answer has no output.")
    return read_usage(response.get("usage")), kept_of(response)


def kept_of(response: Mapping[str, object]) -> tuple[str, ...]:
    """The ids of what *response* (plain, or as an event holds it) says that its endpoint keeps.

    That of the response, and that of its conversation. Nothing if it says `"store": false`.
    """
    response_id = response.get("id")
    if not _is_id(response_id) or response.get("store") is False:
        return ()
    conversation = response.get("conversation")
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    return (response_id, conversation) if _is_id(conversation) else (response_id,)


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS
