"""Forms as a client fills them in, and as an endpoint reads them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from email import policy
from email.parser import BytesParser
from pathlib import Path

from llmlb.http.intake.form import Form
from llmlb.http.intake.limit import Allowance
from llmlb.http.intake.spool import Spool
from llmlb.http.intake.taking_apart import FormIntake
from tests.fakes.house import run_inline
from tests.fakes.upstream import SeenCall

File = tuple[str, str, bytes]
"""Its name, content type and bytes."""

Fields = Mapping[str, str | File]

BOUNDARY = "of-the-client"

CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"

LIMIT_BYTES = 64 * 1024 * 1024


def form_bytes(fields: Fields | Iterable[tuple[str, str | File]]) -> bytes:
    """The body of a form."""
    pieces = []
    for name, value in fields.items() if isinstance(fields, Mapping) else fields:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, str):
            data = value.encode()
        else:
            filename, content_type, data = value
            head += f'; filename="{filename}"\r\nContent-Type: {content_type}'
        pieces.append(head.encode() + b"\r\n\r\n" + data + b"\r\n")
    return b"".join([*pieces, f"--{BOUNDARY}--\r\n".encode()])


@asynccontextmanager
async def form_of(fields: Fields) -> AsyncIterator[Form]:
    """The form, taken in, on a spool of its own; nothing may be left on that."""
    with tempfile.TemporaryDirectory() as directory:
        spool = Spool(Path(directory), LIMIT_BYTES, run_inline)
        intake = FormIntake({"content-type": CONTENT_TYPE}, Allowance(LIMIT_BYTES), spool)
        await intake.take(form_bytes(fields))
        try:
            yield await intake.finish()
        finally:
            intake.close()
            assert spool.held_bytes == 0
            assert not _files_in(Path(directory))


def _files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def read_form(call: SeenCall) -> dict[str, str | File]:
    """What an endpoint gets of the form that *call* brought, by another parser than ours."""
    assert call.body is not None
    return parsed_form(call.headers["content-type"], call.body)


def parsed_form(content_type: str, body: bytes) -> dict[str, str | File]:
    message = BytesParser(policy=policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode() + body
    )
    assert message.is_multipart()
    fields: dict[str, str | File] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        assert isinstance(name, str)
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        filename = part.get_filename()
        fields[name] = (
            data.decode() if filename is None else (filename, part.get_content_type(), data)
        )
    return fields
