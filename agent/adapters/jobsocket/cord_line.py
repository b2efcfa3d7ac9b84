"""adapters/jobsocket/cord_line — a connection that was turned round: a call of a cord out, its answer in, one after the other. Waits without end: its user does not."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from agent.adapters.jobsocket.incoming import BLOCK_BYTES
from agent.adapters.jobsocket.pace import CordPace
from agent.core.cord_answer import MOST_HEAD_BYTES, BadCordAnswerError, CordFault, CordHead, Frames, read_head
from agent.interfaces.cord_line import CordLineBrokenError


class TellingReader(asyncio.StreamReader):
    """Tells of whatever comes, the end too, while nobody reads. Takes no more than what the loop reads at once before it is read: what comes byte by byte meanwhile is joined in the kernel."""

    def __init__(self) -> None:
        super().__init__(limit=1)
        self.tell: Callable[[], None] = _tell_nobody
        self.has_ended = False
        self._unread_bytes = 0

    @property
    def is_silent(self) -> bool:
        """Nothing lies here that was not read, and more may come."""
        return not self.has_ended and not self._unread_bytes

    def feed_data(self, data: Any) -> None:  # noqa: ANN401 - bytes; its stub says less than is true
        super().feed_data(data)
        self._unread_bytes += len(data)
        self.tell()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.has_ended = True
        self.tell()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.has_ended = True
        self.tell()

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self._unread_bytes -= len(data)
        return data


class UnixCordLine:
    """Implements `interfaces.CordLine`."""

    def __init__(
        self, reader: TellingReader, writer: asyncio.StreamWriter, pace: CordPace, welcome: bytes
    ) -> None:
        """`welcome`: what is said when it is taken."""
        self._welcome = welcome
        self.is_welcome = False
        self._reader = reader
        self._writer = writer
        self._pace = pace
        self._unread = bytearray()
        self._size: int | None = 0
        self._is_busy = False
        self._closed = asyncio.Event()
        reader.tell = self._heed

    @property
    def is_open(self) -> bool:
        return not self._is_busy and not self._closed.is_set()

    def welcome(self) -> None:
        self.is_welcome = True
        if not self._closed.is_set():
            self._writer.write(self._welcome)

    async def call(self, request: bytes) -> CordHead | CordFault:
        self._is_busy = True
        head = await self._ask(request)
        self._size = 0 if isinstance(head, CordFault) else head.size
        if self._size == 0:
            self._rest()
        return head

    def body(self) -> AsyncGenerator[bytes]:
        return self._frames() if self._size is None else self._whole(self._size)

    def close(self) -> None:
        self._closed.set()
        # Aborted: who does not read what was sent would hold it here.
        self._writer.transport.abort()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def _ask(self, request: bytes) -> CordHead | CordFault:
        try:
            self._writer.write(request + b"\n")
            await self._writer.drain()
        except ConnectionError as error:
            self.close()
            raise CordLineBrokenError(str(error)) from error
        try:
            line = await self._head_line()
            self._pace.spend_head(len(line))
            return read_head(line)
        except BadCordAnswerError:
            self.close()
            raise

    async def _head_line(self) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > MOST_HEAD_BYTES:
                break
            self._unread += await self._read()
        if not 0 <= end <= MOST_HEAD_BYTES:
            raise BadCordAnswerError(f"the head is longer than {MOST_HEAD_BYTES} bytes")
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    async def _whole(self, size: int) -> AsyncGenerator[bytes]:
        left = size
        while left:
            data = await self._take(left)
            left -= len(data)
            if not left:
                self._rest()
            yield data

    async def _frames(self) -> AsyncGenerator[bytes]:
        frames = Frames()
        while self._is_busy:
            if frames.is_behind:
                await self._pace.turn()
                data = b""
            else:
                data = await self._take(BLOCK_BYTES)
            before = frames.count
            try:
                piece = frames.feed(data)
            except BadCordAnswerError:
                self.close()
                raise
            self._pace.spend_frames(frames.count - before)
            if frames.is_over:
                self._rest()
            if piece:
                yield piece

    async def _take(self, most: int) -> bytes:
        """What came behind the head goes first."""
        if not self._unread:
            self._unread += await self._read()
        data = bytes(self._unread[:most])
        del self._unread[:most]
        return data

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(BLOCK_BYTES)
        except ConnectionError as error:
            self.close()
            raise CordLineBrokenError(str(error)) from error
        if not data:
            self.close()
            raise CordLineBrokenError("the connection ended within an answer")
        await self._pace.turn()
        self._pace.spend_read(len(data))
        return data

    def _rest(self) -> None:
        """The answer is whole. What came behind it was not asked for."""
        self._is_busy = False
        self._heed()

    def _heed(self) -> None:
        if not self._is_busy and (self._unread or not self._reader.is_silent):
            self.close()


def _tell_nobody() -> None:
    """Of a connection that is no line."""
