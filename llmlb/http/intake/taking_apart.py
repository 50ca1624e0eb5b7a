"""A form on its way in: each part is told from the next, and its bytes go to the spool."""

from __future__ import annotations

import re
from collections.abc import Mapping

from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from llmlb.http.intake.form import Form, InvalidForm, Part, with_end
from llmlb.http.intake.limit import Allowance
from llmlb.http.intake.spool import Spool, SpooledFile

MAX_PARTS = 256
MAX_FIELD_BYTES = 64 * 1024
"""A longer field is no name of a model, and goes the way of files."""
MAX_NAME_CHARS = 1024

_FED_BYTES = 64 * 1024
_HEAD_BYTES = 16 * 1024
"""Of the headers of one part, and of what stands before the first."""

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_UNSURE = re.compile(rb"[ \t\r-]{0,64}\Z")
"""May belong to a boundary whose end is still to come."""
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,200}")


def boundary_of(content_type: str) -> bytes:
    """The boundary that the header names (RFC 2046 §5.1.1). Raises InvalidForm."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidForm("The content type multipart/form-data must name its boundary.")
    return boundary.encode("ascii")


class FormIntake:
    """Takes a form apart as it comes, and holds no more than a piece of it in memory."""

    def __init__(self, headers: Mapping[str, str], allowance: Allowance, spool: Spool) -> None:
        boundary = boundary_of(headers.get("content-type", ""))
        self._decoder = MultipartDecoder(
            boundary, max_form_memory_size=_FED_BYTES + _HEAD_BYTES, max_parts=MAX_PARTS
        )
        self._allowance, self._file = allowance, SpooledFile(spool)
        self._parts: list[Part] = []
        self._part: Part | None = None
        self._short = bytearray()
        self._tail = b""
        self._over = False

    async def take(self, data: bytes) -> None:
        """Raises InvalidForm, RequestTooLarge, Overloaded, InternalError."""
        self._allowance.use(len(data))
        data = self._tail + data
        # The decoder takes a boundary that is cut behind its name for data (werkzeug 3.1.9).
        self._tail = _UNSURE.search(data)[0]  # type: ignore[index]  # it may be empty
        data = data[: len(data) - len(self._tail)]
        for at in range(0, len(data), _FED_BYTES):
            if self._over:
                return  # what stands behind the end is nobody's
            await self._feed(data[at : at + _FED_BYTES])

    async def finish(self) -> Form:
        """The whole form. Raises InvalidForm."""
        if not self._over and self._tail:
            await self._feed(self._tail)
        if not self._over:
            await self._feed(None)
        return Form(tuple(self._parts), self._file)

    def close(self) -> None:
        self._file.close()

    async def _feed(self, data: bytes | None) -> None:
        try:
            self._decoder.receive_data(data)
        except RequestEntityTooLarge:
            raise InvalidForm("The headers of a part of the form are too long.") from None
        while not isinstance(event := self._next(), NeedData | Epilogue):
            match event:
                case File():
                    self._begin(event.name, event.headers, event.filename)
                case Field():
                    self._begin(event.name, event.headers, None)
                case Data():
                    await self._keep(event)
        self._over = self._decoder.state in (State.EPILOGUE, State.COMPLETE)

    def _next(self) -> Event:
        try:
            return self._decoder.next_event()
        except RequestEntityTooLarge:
            raise InvalidForm(f"The form has more than {MAX_PARTS} parts.") from None
        except ValueError:  # UnicodeDecodeError is a kind of it
            raise InvalidForm("The form is broken, or ends before its last boundary.") from None

    def _begin(self, name: object, headers: Headers, filename: str | None) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidForm("A part of the form has no name.")
        if max(len(name), len(filename or "")) > MAX_NAME_CHARS:
            raise InvalidForm(f"A name in the form is longer than {MAX_NAME_CHARS} characters.")
        said = headers.get("content-type", "")
        content_type = said if _CONTENT_TYPE.fullmatch(said) else None
        at = self._file.size_bytes
        self._part, self._short = Part(name, filename, content_type, at, at), bytearray()

    async def _keep(self, data: Data) -> None:
        part = self._part
        if part is None:
            raise InvalidForm("The form is broken.")
        if part.filename is None and len(self._short) <= MAX_FIELD_BYTES:
            self._short += data.data
        await self._file.write(data.data)
        if not data.more_data:
            is_short = part.filename is None and len(self._short) <= MAX_FIELD_BYTES
            value = bytes(self._short) if is_short else None
            self._parts.append(with_end(part, self._file.size_bytes, value))
            self._part = None
