"""chutes/_runtime/cords/line — one connection that the host calls cords over: whole lines in, bytes out as fast as they are read. Knows no meaning."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from socket import AF_UNIX, MSG_DONTWAIT, MSG_PEEK, SHUT_RDWR, SOCK_STREAM, socket
from typing import Any, Callable

# Twice the longest line of a host, which is two MiB.
_LONGEST_BYTES = 4 << 20


class LineLostError(ConnectionError):
    """The host has closed the connection. No other code raises it, as it may raise any ConnectionError."""


async def dial(path: str) -> Line:
    """Raises OSError where nobody listens, or too many wait to be heard: asyncio's own way takes that for a connection."""
    made = socket(AF_UNIX, SOCK_STREAM)
    try:
        made.setblocking(False)  # noqa: FBT003 — the library's own
        made.connect(path)
        line = Line(made)
        await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=made)
    except BaseException:
        made.close()
        raise
    return line


class Line(asyncio.Protocol):
    def __init__(self, made: socket) -> None:
        """`made`: a connected socket, for the transport that is made of it."""
        self._socket = made
        self._transport: Any = None
        self._unread = bytearray()
        # How much of it has no line feed, so that a long line is searched once.
        self._searched = 0
        self._arrived: asyncio.Future[None] | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._is_full = False
        self._when_lost: Callable[[], None] | None = None
        self.is_lost = False

    async def next(self) -> bytes | None:
        """The next line; None where the connection is lost before there is one."""
        while True:
            line = self._take()
            if line is not None or self.is_lost:
                return line
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    @property
    def has_some(self) -> bool:
        """Something has come that nobody took."""
        return bool(self._unread)

    @property
    def is_left(self) -> bool:
        """Whether the other side has closed it, also where the loop could not be told yet. For any thread."""
        try:
            return self.is_lost or not self._socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True  # closed on this side by now

    async def send(self, *parts: bytes) -> None:
        """All of it has left the process when this is over. Raises LineLostError once the connection is lost."""
        for part in parts:
            if not self.is_lost:
                self._transport.write(part)
        if self._is_full and not self.is_lost:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
        if self.is_lost:
            raise LineLostError

    def when_lost(self, act: Callable[[], None] | None) -> None:
        """Call it once the connection is lost, which may be now."""
        self._when_lost = act
        if act is not None and self.is_lost:
            act()

    def close(self) -> None:
        """Now, and for whoever has inherited it as well: a child that the author forked would else keep it open."""
        if self._transport is None or self.is_lost:
            return
        with suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # So that it is full as long as anything has not left.
        transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > _LONGEST_BYTES:
            self.close()
        _settle(self._arrived)

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_lost = True
        _settle(self._arrived)
        _settle(self._emptied)
        if self._when_lost is not None:
            self._when_lost()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _settle(self._emptied)

    def _take(self) -> bytes | None:
        end = self._unread.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._unread)
            return None
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        self._searched = 0
        return line


def _settle(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
