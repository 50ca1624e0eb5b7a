"""What of an exchange's words is remembered: of reasons a little, of bodies if that is wanted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from llmlb.http.downstream import Headers
from llmlb.http.intake.form import Form
from llmlb.http.without_media import without_media
from llmlb.records import MOST_TEXT_CHARS

LOOKED_AT_BYTES = 256 * 1024
"""Of a body: what comes after it is not kept, however much of that is media."""

_MARGIN = 4
"""So many times what is kept is looked at first; it is enough where there is little media."""

_ECHO = re.compile(r"""[,{]\s?\\?['"]input\\?['"]\s?:|\binput_value=""")
"""Where servers that check requests with pydantic, as vLLM, begin to quote the request."""

_TEXTS = ("application/json", "text/", "application/x-ndjson")


def kept_reason(reason: str) -> str:
    """What is remembered of the words of an error, which more people see than who asked.

    Endpoints quote what they were sent: media, credentials, and whole requests.
    """
    some = reason[: 2 * MOST_TEXT_CHARS]
    echo = _ECHO.search(some)
    if echo is not None:
        some = f"{some[: echo.start()]} […]"
    return without_media(some, whole=len(some) == len(reason))[:MOST_TEXT_CHARS]


def kept_request(body: bytes | Form | None, most_bytes: int) -> str | None:
    """What is kept of the body of a request; None if it has not come."""
    if body is None:
        return None
    if isinstance(body, Form):
        fields, whole = _fields_of(body)
        size_bytes = len(fields) if whole else body.size_bytes
        return _kept_text(fields[:LOOKED_AT_BYTES], most_bytes, size_bytes)
    return _kept_text(body[:LOOKED_AT_BYTES], most_bytes, len(body))


def kept_response(first: bytes, sent_bytes: int, headers: Headers, most_bytes: int) -> str | None:
    """What is kept of an answer of which *first* is the beginning; None if nothing was sent."""
    if not sent_bytes:
        return None
    said: Mapping[str, str] = dict(headers)
    content_type = said.get("content-type", "").partition(";")[0].strip().lower()
    if said.get("content-encoding", "identity") != "identity" or not content_type.startswith(
        _TEXTS
    ):
        return f"[{content_type or 'unknown type'}, {sent_bytes} bytes]"
    return _kept_text(first, most_bytes, sent_bytes)


def _kept_text(first: bytes, most_bytes: int, size_bytes: int) -> str:
    """The beginning of a text without its media; *first* is as much of it as is looked at."""
    if b"\0" in first:
        return f"[no text, {size_bytes} bytes]"
    some = first[: _MARGIN * most_bytes]
    kept = _without_media(some, whole=len(some) == size_bytes)
    if len(kept) < most_bytes and len(some) < len(first):
        some = first
        kept = _without_media(some, whole=len(some) == size_bytes)
    if len(kept) <= most_bytes and len(some) == size_bytes:
        return kept.decode()
    return f"{kept[:most_bytes].decode(errors='ignore')} [cut; {size_bytes} bytes in all]"


def _without_media(data: bytes, *, whole: bool) -> bytes:
    text = data.decode("utf-8", "replace")
    return without_media(text, whole=whole).encode("utf-8", "replace")


def _fields_of(form: Form) -> tuple[bytes, bool]:
    """A form as JSON, as much as is looked at, and whether that is all of it.

    Its short fields with their values, of all else the size alone.
    """
    fields: list[Mapping[str, object]] = []
    left = LOOKED_AT_BYTES
    for part in form.parts:
        if part.value is None or part.filename is not None:
            shown = {"bytes": part.end - part.start, "content_type": part.content_type}
            fields.append({"name": part.name, **shown})
        elif left > 0:
            value = part.value[:left].decode("utf-8", "replace")
            fields.append({"name": part.name, "value": value})
            left -= len(part.value)
    return json.dumps({"form": fields}, ensure_ascii=False).encode("utf-8", "replace"), left > 0
