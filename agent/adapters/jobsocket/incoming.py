"""adapters/jobsocket/incoming — the bytes of one connection as lines and results, read at the job's pace. Understands none of them."""

import asyncio
from collections.abc import AsyncIterator

from agent.adapters.jobsocket.pace import JobPace

MOST_LINE_BYTES = 2 << 20
BLOCK_BYTES = 64 << 10


class LineTooLongError(Exception):
    """What comes has no end that we would wait for."""


class CutOffError(Exception):
    """The connection ended within a result."""


class Incoming:
    """`line` and `take` in turn: a result begins where its line ends."""

    def __init__(self, reader: asyncio.StreamReader, pace: JobPace) -> None:
        self._reader = reader
        self._pace = pace
        self._unread = bytearray()
        self._result_bytes = 0

    async def line(self) -> bytes | None:
        """The next one, without its end; None: nothing comes any more. Raises LineTooLongError."""
        end = self._unread.find(b"\n")
        while end < 0:
            looked_through = len(self._unread)
            if looked_through > MOST_LINE_BYTES:
                raise LineTooLongError
            if looked_through > BLOCK_BYTES:
                await self._pace.hold_large(self)
            if not await self._read():
                return None
            end = self._unread.find(b"\n", looked_through)
        if end > MOST_LINE_BYTES:
            raise LineTooLongError
        await self._pace.pass_line()
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def let_go(self) -> None:
        """The line that was read last is not needed any more."""
        self._pace.let_large_go(self)

    def result(self, size: int) -> AsyncIterator[bytes]:
        """So many bytes, whether they are taken or skipped. Raises CutOffError."""
        self._result_bytes = size
        return self._result()

    async def skip_result(self) -> None:
        """What of it was not taken. Raises CutOffError."""
        async for _ in self._result():
            pass

    async def drop_all(self) -> None:
        """Whatever comes, until nothing does."""
        while await self._read():
            self._unread.clear()

    async def _result(self) -> AsyncIterator[bytes]:
        while self._result_bytes:
            if not self._unread and not await self._read():
                raise CutOffError
            piece = bytes(self._unread[: self._result_bytes])
            del self._unread[: len(piece)]
            self._result_bytes -= len(piece)
            yield piece

    async def _read(self) -> bool:
        await self._pace.wait_for_bytes()
        data = await self._reader.read(BLOCK_BYTES)
        self._pace.spend_bytes(len(data))
        self._unread += data
        return bool(data)
