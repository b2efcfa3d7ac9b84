"""adapters/outgoing/pieces — a body as it is handed to the connection: counted to the byte, and watched so that none stalls unseen. Reads no file."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

from agent.interfaces import Body

# Small enough that a slow endpoint that takes its bytes is told from one that stalls, large enough to cost nothing.
SLICE_BYTES = 256 << 10
# So much waits in the kernel beyond what is on its way; by itself it takes megabytes, and "taken" would mean little.
UNSENT_BYTES = 256 << 10


class BodySizeError(ValueError):
    """A body has other bytes than it was said to have: a mistake of whoever made it."""


class Whole:
    """A body that is at hand. Implements `interfaces.Body`."""

    def __init__(self, content: bytes) -> None:
        self.size_bytes = len(content)
        self._content = content

    async def pieces(self) -> AsyncGenerator[bytes]:
        yield self._content


class Pieces(Payload):
    """One body, sent once: of a known size, so never chunked. `error` is what the body itself raised.

    `limit` is moved with each slice that the connection takes, and rests while the body is read: its time is not the endpoint's.
    """

    def __init__(self, body: Body, seconds: float, limit: asyncio.Timeout | None) -> None:
        super().__init__(body)
        self._size = body.size_bytes
        self.error: Exception | None = None
        self._body = body
        self._seconds = seconds
        self._limit = limit
        self._transport: asyncio.WriteTransport | None = None
        self._left = body.size_bytes
        self._ended = asyncio.Event()
        self._is_taken = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - the library's signature
        """For the library's middlewares that look at bodies; nobody may at this one."""
        raise TypeError("a body in pieces is sent, not looked at")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Called by the library, once it has a connection."""
        self._transport = writer.transport
        if self._transport is not None and self._size > UNSENT_BYTES:
            wire: socket.socket = self._transport.get_extra_info("socket")
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        try:
            await self._hand_over(writer)
        finally:
            self._ended.set()

    async def answered(self) -> bool:
        """An answer has come: what is left of it has so many seconds, however the body goes on. Returns whether all was taken."""
        self._reschedule(self._seconds)
        self._limit = None
        if self._left == 0:
            await self._ended.wait()  # the last of it may be on its way through the loop
        return self._is_taken

    def cut(self) -> None:
        """Close the connection at once. To close it in the usual way is to wait until the endpoint has taken what was handed over,
        which is for ever where it stalls; and as long its file descriptor is held.
        """
        if self._transport is not None:
            self._transport.abort()

    async def _hand_over(self, writer: AbstractStreamWriter) -> None:
        self._reschedule(None)
        async with aclosing(self._read()) as pieces:
            async for piece in pieces:
                for part in _slices(piece):
                    self._reschedule(self._seconds)
                    # With the first bytes the request's head leaves: before them nobody answers.
                    if self._left < self._size:
                        await _read_what_came()
                    self._left -= len(part)
                    await writer.write(part)
                self._reschedule(None)
        self._is_taken = True
        self._reschedule(self._seconds)

    async def _read(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(_to_the_byte(self._body)) as pieces:
                async for piece in pieces:
                    yield piece
        except Exception as error:
            self.error = error
            raise

    def _reschedule(self, seconds: float | None) -> None:
        if self._limit is not None:
            loop = asyncio.get_running_loop()
            self._limit.reschedule(None if seconds is None else loop.time() + seconds)


async def _read_what_came() -> None:
    """An endpoint that refuses early may close at once, and with the first bytes that are sent then its answer would be lost: so
    whatever has come is read before. Twice: the loop looks at the connection after the first, and reads after the second began.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def _to_the_byte(body: Body) -> AsyncGenerator[bytes]:
    """The pieces of the body, the last only once the body has ended well: what raises at its end never arrived whole.

    More bytes than were told would be the beginning of another request, with fewer both sides would wait.
    """
    left = body.size_bytes
    held = b""
    async with aclosing(body.pieces()) as pieces:
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise BodySizeError(f"a body of {body.size_bytes} bytes has more")
            if left > 0:
                yield piece
            else:
                held = piece or held
    if left > 0:
        raise BodySizeError(f"a body of {body.size_bytes} bytes lacks {left}")
    if held:
        yield held


def _slices(piece: bytes) -> Iterator[memoryview]:
    # Views: a tenth faster than slices that are copies.
    view = memoryview(piece)
    for start in range(0, len(piece), SLICE_BYTES):
        yield view[start : start + SLICE_BYTES]
