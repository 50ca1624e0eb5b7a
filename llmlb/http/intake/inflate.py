"""What a compressed body unpacks to, piece by piece, whatever it was packed into."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol, cast

from llmlb.errors import InvalidRequest, UnsupportedMediaType

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

PIECE_BYTES = 256 * 1024
"""Whatever little a bomb is, no more than this comes out of it at once."""

ENCODINGS = ("gzip", "deflate", "zstd")

_SEVERAL = frozenset({"gzip", "zstd"})
"""May be several one after the other (RFC 1952 §2.2, RFC 8878 §3), which unpack to one body."""

MAX_MEMBERS = 16_384
"""An empty one is some bytes of work and of nothing else. Tools make one of some 64 KiB."""

_ZSTD_WINDOW_LOG = 23
"""8 MiB, as RFC 9659 has it for HTTP; a frame could ask for 128 MiB."""

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class InvalidEncoding(InvalidRequest):
    """The body is not what its content encoding says."""

    _code = "invalid_encoding"


class _Unpacking(Protocol):
    """What zlib's and zstd's decompressors have in common."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class Inflater:
    """Unpacks one body. Sans-IO; holds what the library holds, and no more."""

    def __init__(self, encoding: str) -> None:
        """*encoding* is one of ENCODINGS."""
        self._encoding = encoding
        self._unpacking: _Unpacking | None = None
        self._head = b""
        self._n_members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What *data* unpacks to, in pieces of at most PIECE_BYTES. Raises InvalidEncoding.

        All of it has to be taken before the next piece is fed.
        """
        while True:
            if self._unpacking is None or (data and self._unpacking.eof):
                if not self._begin(data):
                    return
                data, self._head = self._head, b""
            unpacking = cast("_Unpacking", self._unpacking)
            if unpacking.eof:
                return
            try:
                piece = unpacking.decompress(data, PIECE_BYTES)
            except (zlib.error, ZstdError):
                raise InvalidEncoding(f"The body is not valid {self._encoding}.") from None
            data = _left(unpacking)
            if piece:
                yield piece
            if not data and len(piece) < PIECE_BYTES:
                return

    def _begin(self, data: bytes) -> bool:
        """Whether another member has begun with *data*, and what of its head came before.

        Raises InvalidEncoding where there can be no other.
        """
        if self._unpacking is not None and self._encoding not in _SEVERAL:
            raise InvalidEncoding(f"The body goes on after the end of its {self._encoding}.")
        self._unpacking = None
        self._head += data
        if len(self._head) < 2:  # deflate tells its kind by two bytes
            return False
        self._n_members += 1
        if self._n_members > MAX_MEMBERS:
            raise InvalidEncoding(f"The body has more than {MAX_MEMBERS} members of gzip or zstd.")
        self._unpacking = _begun(self._encoding, self._head)
        return True

    def finish(self) -> None:
        """Raise InvalidEncoding if the body has ended too early."""
        if self._unpacking is None or not self._unpacking.eof:
            raise InvalidEncoding(f"The body ends before its {self._encoding} does.")


def encoding_of(content_encoding: str) -> str | None:
    """The one encoding that the header names; None for a body as it is.

    Raises UnsupportedMediaType for any other.
    """
    named = [part.strip().lower() for part in content_encoding.split(",")]
    named = ["gzip" if part == "x-gzip" else part for part in named if part not in ("", "identity")]
    if not named:
        return None
    if len(named) > 1 or named[0] not in ENCODINGS:
        raise UnsupportedMediaType(
            f"A body may be compressed once, with {', '.join(ENCODINGS[:-1])} or {ENCODINGS[-1]}."
        )
    return named[0]


def _begun(encoding: str, head: bytes) -> _Unpacking:
    if encoding == "zstd":
        return ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
    if encoding == "gzip":
        return zlib.decompressobj(_GZIP)
    # "deflate" means zlib's format, and is taken by some to mean what is in it.
    wrapped = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
    return zlib.decompressobj(_ZLIB if wrapped else _RAW)


def _left(unpacking: _Unpacking) -> bytes:
    """What was fed and is not used yet; zstd keeps that to itself until its end."""
    tail: bytes = getattr(unpacking, "unconsumed_tail", b"")
    return tail or unpacking.unused_data
