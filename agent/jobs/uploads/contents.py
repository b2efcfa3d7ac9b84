"""jobs/uploads/contents — an output file, open to be sent: in constant memory, hashed in the same reads. Speaks no protocol."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from agent.aio import one_ahead
from agent.interfaces import Checksum, Folders, OutputFile, OutputReader, SmallOutput
from agent.jobs.uploads.ahead import ReadAhead

BLOCK_BYTES = 1 << 20
# Read in one go, and sent as one piece.
SMALL_BYTES = 1 << 20

Moved = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A body out of memory."""

    data: bytes
    moved: Moved

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncGenerator[bytes]:
        if self.data:
            self.moved(len(self.data))
            yield self.data


class Small:
    """Implements `interfaces.Content` for what is in memory whole."""

    def __init__(self, path: str, data: bytes, moved: Moved) -> None:
        self.path = path
        self.size_bytes = len(data)
        self._data = data
        self._moved = moved

    def part(self, start: int, size_bytes: int) -> Piece:
        return Piece(self._data[start : start + size_bytes], self._moved)

    async def checksum(self, kind: Checksum, start: int, size_bytes: int) -> bytes:
        return hashlib.new(kind, self._data[start : start + size_bytes]).digest()


class Large:
    """Implements `interfaces.Content` for an open file. Its digest is taken as it is sent, in the same reads."""

    def __init__(self, reader: OutputReader, moved: Moved) -> None:
        self.path = reader.file.path
        self.size_bytes = reader.file.size_bytes
        self._reader = reader
        self._moved = moved
        self._digest = hashlib.sha256()
        self._hashed = 0  # so many bytes from the start

    def part(self, start: int, size_bytes: int) -> "LargePart":
        return LargePart(self, start, size_bytes)

    async def checksum(self, kind: Checksum, start: int, size_bytes: int) -> bytes:
        digest = hashlib.new(kind)
        for offset in range(start, start + size_bytes, BLOCK_BYTES):
            size = min(BLOCK_BYTES, start + size_bytes - offset)
            await self._reader.read_hashing(digest, offset, size)
        return digest.digest()

    async def sha256(self) -> str:
        """In hex, of the whole: what was not sent is read now."""
        async for _ in self._hash_up_to(self.size_bytes):
            pass
        return self._digest.hexdigest()

    async def blocks(self, start: int, end: int) -> AsyncGenerator[bytes]:
        async for _ in self._hash_up_to(start):
            pass
        offset = start
        while offset < end:
            size = min(BLOCK_BYTES, end - offset)
            if offset == self._hashed:
                yield await self._hash_next(size)
            else:  # sent once more: it is in the digest already, up to where that is
                size = min(size, self._hashed - offset)
                yield await self._reader.read(offset, size)
            offset += size

    async def _hash_up_to(self, end: int) -> AsyncIterator[bytes]:
        while self._hashed < end:
            yield await self._hash_next(min(BLOCK_BYTES, end - self._hashed))

    async def _hash_next(self, size: int) -> bytes:
        block = await self._reader.read_hashing(self._digest, self._hashed, size)
        self._hashed += size
        return block

    def moved(self, size: int) -> None:
        self._moved(size)


@dataclass(frozen=True, slots=True)
class LargePart:
    """A body out of an open file, the next block of which is read while one is sent."""

    whole: Large
    start: int
    size_bytes: int

    async def pieces(self) -> AsyncGenerator[bytes]:
        blocks = one_ahead(self.whole.blocks(self.start, self.start + self.size_bytes))
        async with aclosing(blocks):
            async for block in blocks:
                self.whole.moved(len(block))
                yield block


@asynccontextmanager
async def open_output(
    folders: Folders, ahead: ReadAhead, job_id: str, path: str, moved: Moved
) -> AsyncIterator["OpenFile"]:
    """An output file, small or large. Raises OutputRefusedError, OutputChangedError."""
    found = await ahead.take(path) or await folders.read_small(job_id, path, SMALL_BYTES)
    if isinstance(found, SmallOutput):
        yield OpenFile(found.file, Small(path, found.data, moved), found.sha256, None)
        return
    reader = await folders.open_output(job_id, path)
    try:
        yield OpenFile(reader.file, Large(reader, moved), None, reader)
    finally:
        await reader.close()


@dataclass(frozen=True, slots=True)
class OpenFile:
    """`sha256` is known at once of a small one, whose bytes are all of one moment."""

    file: OutputFile
    content: Small | Large
    sha256: str | None
    reader: OutputReader | None

    async def settled_sha256(self) -> str | None:
        """After it was sent: the digest of what was sent. None: the file changed meanwhile. Raises OutputChangedError."""
        if self.reader is None or not isinstance(self.content, Large):
            return self.sha256
        digest = await self.content.sha256()
        return digest if await self.reader.is_unchanged() else None
