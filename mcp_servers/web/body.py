"""A response's body within bounds: so many bytes as they come, and so many once unpacked."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_PLAIN = frozenset({"", "identity"})
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
ACCEPTED = "gzip, deflate"


class TooBig(Exception):
    """More than the bound."""


class BadEncoding(Exception):
    """Packed in a way that was not asked for, or broken."""


async def read_body(chunks: AsyncIterable[bytes], encoding: str, max_bytes: int) -> bytes:
    """The unpacked body. ``max_bytes`` bounds what comes and what it unpacks to, each by itself.

    Raises TooBig as soon as a bound is passed, BadEncoding.
    """
    encoding = encoding.strip().lower()
    if encoding not in _PLAIN | _PACKED:
        raise BadEncoding(encoding)
    unpacker = _Unpacker(max_bytes) if encoding in _PACKED else None
    body, received = bytearray(), 0
    async for chunk in chunks:
        received += len(chunk)
        body += unpacker.feed(chunk) if unpacker else chunk
        if received > max_bytes or len(body) > max_bytes:
            raise TooBig
    if unpacker and received and not unpacker.complete:
        raise BadEncoding("cut off")
    return bytes(body)


class _Unpacker:
    """Unpacks no more than is asked for: a few bytes can stand for gigabytes."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = False

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def feed(self, chunk: bytes) -> bytes:
        try:
            out = self._stream.decompress(chunk, self._left + 1)
        except zlib.error as error:
            if self._begun:
                raise BadEncoding("broken") from error
            # "deflate" without the header that it should have, as some servers send it.
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                out = self._stream.decompress(chunk, self._left + 1)
            except zlib.error as second:
                raise BadEncoding("broken") from second
        self._begun = True
        self._left -= len(out)
        if self._left < 0:
            raise TooBig
        return out
