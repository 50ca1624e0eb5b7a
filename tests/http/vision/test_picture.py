from __future__ import annotations

import base64
import struct
import zlib

from tests.fakes.images import PNG_100X100_BASE64


def test_the_picture_is_a_png_of_100_by_100_pixels_that_decodes() -> None:
    png = base64.b64decode(PNG_100X100_BASE64, validate=True)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", png, at + 8 + length)
        assert checksum == zlib.crc32(kind + content)
        chunks[kind] = content
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (100, 100, 8, 2, 0, 0, 0)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert len(rows) == 100 * (1 + 3 * 100)
    assert rows[50 * 301 + 1 + 150 :][:3] == bytes((240, 200, 40))
