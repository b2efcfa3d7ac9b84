"""core/proxy_bodies — where the body of a job's answer ends: by its length, by chunks, or with the connection. Pure; holds no body.

Each reader is fed what came, and gives back what of it is the body's. None keeps more than one line of framing.
"""

import re
from typing import Protocol

from agent.core.proxy_heads import BadAnswerError, Chunked, Framing, Sized

_MAX_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 16 << 10
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f]*)?")


class BodyReader(Protocol):
    """`is_done`: the body is whole, and what follows is none of ours."""

    is_done: bool

    def feed(self, data: bytes) -> bytes:
        """What of it is body. Raises BadAnswerError."""
        ...

    def end(self) -> None:
        """The connection has ended. Raises BadAnswerError where the body was not whole."""
        ...


def reader_of(framing: Framing) -> BodyReader:
    if isinstance(framing, Sized):
        return SizedReader(framing.length)
    return ChunkReader() if isinstance(framing, Chunked) else OpenReader()


class SizedReader:
    def __init__(self, length: int) -> None:
        self._left = length
        self.is_done = length == 0

    def feed(self, data: bytes) -> bytes:
        taken = data if len(data) <= self._left else data[: self._left]
        self._left -= len(taken)
        self.is_done = self._left == 0
        return taken

    def end(self) -> None:
        if not self.is_done:
            raise BadAnswerError(f"the answer broke off, {self._left} bytes before its end")


class OpenReader:
    """The rest of the connection is the body: whether it broke off, nobody can tell."""

    is_done = False

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.is_done = True


class ChunkReader:
    """Chunks (RFC 9112, 7.1). Their extensions and the trailer are passed over: they were for us, who is its reader."""

    def __init__(self) -> None:
        self.is_done = False
        self._line = bytearray()  # of framing, not whole yet
        self._left = 0  # of the chunk
        self._after_chunk = False  # the line end behind a chunk is wanted
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.is_done:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                self._after_chunk = self._left == 0
                at += len(piece)
            else:
                at = self._feed_line(data, at)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> None:
        if not self.is_done:
            raise BadAnswerError("the answer broke off within its chunks")

    def _feed_line(self, data: bytes, at: int) -> int:
        """Take what belongs to the line of framing; where the next piece begins."""
        end = data.find(b"\n", at)
        piece = data[at:] if end < 0 else data[at:end]
        if len(self._line) + len(piece) > _MAX_LINE_BYTES:
            raise BadAnswerError("a line between the chunks of the answer is too long")
        self._line += piece
        if end < 0:
            return len(data)
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        self._take_line(line)
        return end + 1

    def _take_line(self, line: bytes) -> None:
        if self._in_trailer:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise BadAnswerError("the trailer of the answer is too long")
            self.is_done = not line
        elif self._after_chunk:
            if line:
                raise BadAnswerError("a chunk of the answer is longer than it said")
            self._after_chunk = False
        else:
            found = _CHUNK_LINE.fullmatch(line)
            if found is None:
                raise BadAnswerError("the answer's chunks are not well-formed")
            self._left = int(found[1], 16)
            self._in_trailer = self._left == 0
