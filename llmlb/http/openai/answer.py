"""Is a whole answer an answer, and what did it cost."""

from __future__ import annotations

import json
import re
from typing import Any

from llmlb.accounting import Usage
from llmlb.errors import OpenAIError
from llmlb.http.upstream.faults import FaultKind, UpstreamFault

_MESSAGE_LIMIT_CHARS = 2000

_PAGE = re.compile(rb"[\xef\xbb\xbf\s]{0,64}<(?:!doctype html|html)\b", re.IGNORECASE)


def read_answer(results: str, body: bytes) -> Usage:
    """Check a plain 2xx body. Raises UpstreamFault unless its list *results* has an entry."""
    answer = read_object(body)
    entries = answer.get(results)
    if not isinstance(entries, list) or not entries:
        raise UpstreamFault(FaultKind.BAD_ANSWER, f"The endpoint's answer has no {results}.")
    return read_usage(answer.get("usage"))


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a plain 2xx body. Raises UpstreamFault if it is none, or an error."""
    answer = read_any_object(body)
    refuse_error(answer)
    return answer


def read_any_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a plain 2xx body, error or not. Raises UpstreamFault if it is none."""
    if not body.strip():
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint answered with an empty body.")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise UpstreamFault(
            FaultKind.BAD_ANSWER, "The endpoint's answer is not valid JSON."
        ) from None
    if not isinstance(answer, dict):
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint's answer is not a JSON object.")
    return answer


def read_transcript(body: bytes) -> Usage:
    """Check a plain 2xx body of a transcription or translation: JSON with a `text`, or a text.

    Raises UpstreamFault. An empty transcript is one: there may have been nothing to hear.
    """
    if not body:
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint answered with an empty body.")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        refuse_page(body)
        return Usage()  # plain text, srt or vtt
    if not isinstance(answer, dict):
        return Usage()  # somebody said "42"
    refuse_error(answer)
    if not isinstance(answer.get("text"), str):
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint's answer has no text.")
    return read_usage(answer.get("usage"))


def refuse_page(body: bytes) -> None:
    """Raise UpstreamFault for a page of HTML, with which gateways tell of errors, even in a 200."""
    if _PAGE.match(body):
        raise UpstreamFault(FaultKind.BAD_ANSWER, "The endpoint answered with a page of HTML.")


def refuse_error(answer: dict[str, Any]) -> None:
    """Raise UpstreamFault if the answer tells of an error in the way of OpenAI."""
    if answer.get("error"):
        said = error_from(200, answer["error"])
        raise UpstreamFault(FaultKind.BAD_ANSWER, f"The endpoint answered: {said.message}")


def read_usage(usage: Any) -> Usage:  # noqa: ANN401 - foreign JSON
    """Token counts of an OpenAI `usage` object, under the names of either of its APIs.

    What is not a count is left out.
    """
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        input_tokens=token_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        output_tokens=token_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        total_tokens=token_count(usage.get("total_tokens")),
    )


def token_count(value: Any) -> int | None:  # noqa: ANN401 - foreign JSON
    """A number of tokens, or None for what can be none (and would not fit the database)."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48:
        return value
    return None


def read_error(status: int, body: bytes) -> OpenAIError:
    """What an endpoint's error response says, in the OpenAI shape, whatever its own shape.

    Known shapes: `{"error": {…}}`, `{"error": "text"}`, `{"detail": …}`,
    `{"message": …}`, plain text.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return error_from(status, text if text and not text.startswith("<") else None)
    if not isinstance(answer, dict):
        return error_from(status, answer)
    return error_from(status, answer.get("error") or answer.get("detail") or answer)


def error_from(status: int, said: Any) -> OpenAIError:  # noqa: ANN401 - foreign JSON
    """The OpenAI error that *said* tells of: what stands in the place of an `error`."""
    fields: dict[str, Any] = said if isinstance(said, dict) else {"message": said}
    message = fields.get("message") or fields.get("msg") or said
    if message and not isinstance(message, str):
        message = _as_text(message)
    code, param = fields.get("code"), fields.get("param")
    kind = fields.get("type")
    message = str(message or f"The endpoint answered with status {status}.")
    return OpenAIError(
        message=_encodable(message[:_MESSAGE_LIMIT_CHARS]),
        type=_encodable(kind) if isinstance(kind, str) and kind else "invalid_request_error",
        code=None if code is None else _encodable(str(code)[:100]),
        param=_encodable(param) if isinstance(param, str) else None,
    )


def _encodable(text: str) -> str:
    """JSON can spell half a surrogate pair, which nobody can be told, nor shown in a terminal."""
    return text.encode("utf-8", "replace").decode()


def _as_text(said: Any) -> str:  # noqa: ANN401 - foreign JSON
    try:
        return json.dumps(said, ensure_ascii=False)
    except RecursionError:  # writing takes a few levels more than reading did
        return ""
