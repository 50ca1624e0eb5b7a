"""A form as it was filled in: its fields, its files, and how it is sent on."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmlb.errors import InvalidRequest
from llmlb.http.intake.spool import SpooledFile

_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""As browsers do; no other way is understood by all."""


class InvalidForm(InvalidRequest):
    """The body is no multipart/form-data that can be read."""

    _code = "invalid_multipart"


@dataclass(frozen=True, slots=True)
class Part:
    """One field or file; its bytes stand in the form's file from *start* to *end*."""

    name: str
    filename: str | None
    content_type: str | None
    start: int = 0
    end: int = 0
    value: bytes | None = None
    """Of a short field, its bytes themselves."""

    def head(self) -> bytes:
        """Its header lines, as we write them."""
        lines = f'Content-Disposition: form-data; name="{self.name.translate(_QUOTED)}"'
        if self.filename is not None:
            lines += f'; filename="{self.filename.translate(_QUOTED)}"'
        if self.content_type is not None:
            lines += f"\r\nContent-Type: {self.content_type}"
        return f"{lines}\r\n\r\n".encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Form:
    """All parts, in their order, over one file that is open as long as the request lasts."""

    parts: Sequence[Part]
    file: SpooledFile = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Of all values together."""
        return self.file.size_bytes

    def value(self, name: str) -> str | None:
        """The first short field *name*. Raises InvalidForm if it is not UTF-8."""
        for part in self.parts:
            if part.name == name and part.value is not None:
                try:
                    return part.value.decode()
                except UnicodeDecodeError:
                    raise InvalidForm(f"'{name}' must be text in UTF-8.", param=name) from None
        return None

    def has_file(self, name: str) -> bool:
        """Whether there is a file *name*, or a list of them."""
        return any(p.filename is not None and p.name in (name, f"{name}[]") for p in self.parts)

    def payload(self, replacing: Mapping[str, str]) -> FormPayload:
        """The form as it is sent on, with these fields in place of its own."""
        parts = [part for part in self.parts if part.name not in replacing]
        ours = [
            Part(name, None, None, value=text.encode("utf-8", "replace"))
            for name, text in replacing.items()
        ]
        # Fields first: an endpoint may want to know the model before the file arrives.
        return FormPayload([*ours, *parts], self.file)


class FormPayload:
    """A form, written anew: with a boundary of ours, and lengths that we have counted."""

    def __init__(self, parts: Sequence[Part], file: SpooledFile) -> None:
        self._parts, self._file = parts, file
        self._boundary = f"llmlb-{secrets.token_hex(24)}".encode()

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary.decode()}"

    @property
    def size_bytes(self) -> int:
        values = sum(
            part.end - part.start if part.value is None else len(part.value) for part in self._parts
        )
        return values + sum(len(piece) for piece in self._frame())

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The whole form from its beginning. Raises InternalError if it cannot be read."""
        frame = self._frame()
        for part in self._parts:
            yield next(frame)
            if part.value is None:
                at = part.start
                while at < part.end:
                    piece = await self._file.read(at, part.end)
                    yield piece
                    at += len(piece)
            elif part.value:
                yield part.value
        yield next(frame)

    def _frame(self) -> Iterator[bytes]:
        """What stands before each value, and at the end."""
        line = b"--" + self._boundary
        for number, part in enumerate(self._parts):
            yield (b"\r\n" if number else b"") + line + b"\r\n" + part.head()
        yield (b"\r\n" if self._parts else b"") + line + b"--\r\n"


def with_end(part: Part, end: int, value: bytes | None) -> Part:
    """*part* now that its last byte is known."""
    return replace(part, end=end, value=value)
