"""api/proxy/tunnel — the bytes of a WebSocket, both ways, as they come. Reads no frame: pings, close codes and extensions are the two ends' own."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from aiohttp import web

from agent.aio import Flag, beside
from agent.api.proxy.wire import AnswerHead
from agent.api.streams import Stream
from agent.core.proxy_headers import Way, accepts_websocket, for_the_client
from agent.core.proxy_heads import BadAnswerError
from agent.interfaces.job_ports import JobConnection, PortUnreachableError

READ_BYTES = 256 << 10
# Of the client's bytes that the job has not taken yet: past it, the client's connection is not read.
MAX_HELD_BYTES = 256 << 10


class Switched(Protocol):
    """What of aiohttp's RequestHandler hands over a connection that speaks HTTP no more."""

    def set_parser(self, parser: Any) -> None: ...  # noqa: ANN401 - aiohttp names its own WebSocket reader

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Tunnel:
    def __init__(
        self, request: web.Request, stream: Stream, connection: JobConnection, put_off: Callable[[], None]
    ) -> None:
        self._request = request
        self._stream = stream
        self._connection = connection
        self._put_off = put_off

    async def run(self, head: AnswerHead, rest: bytes, key: str, way: Way) -> web.StreamResponse:
        """Switch, then carry until one side ends. `rest`: what the job sent behind its answer. Raises BadAnswerError."""
        if not accepts_websocket(head.headers, key):
            raise BadAnswerError("the job's port accepts another WebSocket than the one that was asked for")
        headers = [*for_the_client(head.headers, way), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
        response = web.StreamResponse(status=101, reason=head.reason, headers=headers)
        await response.prepare(self._request)
        # Both know by now that it is no HTTP any more, and neither can go back.
        response.force_close()
        inbox = Inbox(cast(Switched, self._request.protocol))
        async with beside(self._carry_to_job(inbox), "websocket to job"):
            await self._carry_to_client(response, rest)
        return response

    async def _carry_to_client(self, response: web.StreamResponse, data: bytes) -> None:
        if data:
            await self._stream.send(response, data)
        while data := await self._read():
            await self._stream.send(response, data)
            self._put_off()
            await asyncio.sleep(0)

    async def _read(self) -> bytes:
        try:
            return await self._connection.read(READ_BYTES)
        except PortUnreachableError:
            return b""  # the job is gone: its WebSocket ends without a close frame, which is what there is to tell

    async def _carry_to_job(self, inbox: "Inbox") -> None:
        # Where the job is gone, who reads from it sees the same end.
        with suppress(PortUnreachableError):
            while data := await inbox.take():
                await self._connection.write(data)
                self._put_off()


class Inbox:
    """The client's bytes, as aiohttp's connection hands them over once it speaks HTTP no more."""

    def __init__(self, protocol: Switched) -> None:
        self._protocol = protocol
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._is_paused = self._has_ended = False
        self._came = Flag()
        protocol.set_parser(self)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """aiohttp's: whether the connection is over for it, and what is left for HTTP."""
        self._pieces.append(data)
        self._size += len(data)
        self._came.set()
        if self._size >= MAX_HELD_BYTES and not self._is_paused:
            self._is_paused = True
            self._protocol.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        """aiohttp's: the client has gone."""
        self._has_ended = True
        self._came.set()

    async def take(self) -> bytes:
        """All that is there, waiting for the first. b"" is the end."""
        while not self._pieces and not self._has_ended:
            self._came.clear()
            await self._came.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._is_paused:
            self._is_paused = False
            self._protocol.resume_reading()
        return data
