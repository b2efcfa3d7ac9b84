"""api/streams — answers without a known end: how many a token may have, how slow a reader may be, and how all of them end.

Knows nothing of what flows through them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, NoReturn, Protocol, cast

import structlog
from aiohttp import web

from agent.aio import Flag, beside
from agent.api.auth import Caller
from agent.api.limits import ApiLimits
from agent.errors import AgentError, Blame
from agent.interfaces import StoreUnavailableError

log = structlog.get_logger(__name__)


class TooManyStreamsError(AgentError):
    code, blame = "too_many_streams", Blame.USER
    remedy = "Close some of your streams (logs, events, downloads) first."


class Connection(Protocol):
    """What a stream needs of our RequestHandler: its task ends with the connection, also while nothing flows."""

    stream_task: "asyncio.Task[Any] | None"


class Streams:
    """All streams of the API."""

    def __init__(self, is_live: Callable[[Caller], Awaitable[bool]], limits: ApiLimits) -> None:
        self._is_live = is_live
        self._limits = limits
        self._per_token: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._one_ended = Flag()

    @property
    def limits(self) -> ApiLimits:
        return self._limits

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._tasks)

    @contextmanager
    def open(self, request: web.Request, caller: Caller) -> Iterator["Stream"]:
        """Hold one of the token's streams while the block runs, which ends with the connection and with `close`.

        Raises TooManyStreamsError.
        """
        most = self._limits.streams_per_token
        # Peers on the Unix socket share one name and are the host's own people: for them descriptors are the limit.
        if caller.token is not None and self._per_token[caller.stream_key] >= most:
            raise TooManyStreamsError(f"{most} streams of this token are open")
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        connection = cast(Connection, request.protocol)
        if self._is_closing:
            task.cancel()
        self._per_token[caller.stream_key] += 1
        self._tasks.add(task)
        connection.stream_task = task
        try:
            yield Stream(request, caller, self._is_live, self._limits)
        finally:
            connection.stream_task = None
            self._tasks.discard(task)
            self._one_ended.set()
            self._per_token[caller.stream_key] -= 1
            if not self._per_token[caller.stream_key]:
                del self._per_token[caller.stream_key]

    async def wait_for_ends(self, seconds: float) -> None:
        """Until all have ended that were told to, otherwise than by `close`: for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks:
                    self._one_ended.clear()
                    await self._one_ended.wait()

    def close(self) -> None:
        """End every stream: the daemon leaves. Clients resume from their cursors."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()


class Stream:
    """One open answer. Its `send` and `bear` are the only ways to write."""

    def __init__(
        self,
        request: web.Request,
        caller: Caller,
        is_live: Callable[[Caller], Awaitable[bool]],
        limits: ApiLimits,
    ) -> None:
        self._request = request
        self._caller = caller
        self._is_live = is_live
        self._limits = limits
        self._checked_at = asyncio.get_running_loop().time()

    async def send(self, response: web.StreamResponse, data: bytes) -> None:
        """Write, waiting for a slow reader as long as it may be slow. Raises ConnectionResetError: it is cut."""
        await self.refuse_dead_token()
        await self.bear(response.write(data))

    async def bear(self, writing: Awaitable[None]) -> None:
        """Wait for what writes to this connection as long as its reader may be slow. Raises ConnectionResetError: it is cut."""
        try:
            async with asyncio.timeout(self._limits.stream_seconds):
                await writing
        except TimeoutError:
            self._cut("stream.reader_too_slow")

    def cut_silent(self) -> NoReturn:
        """Of a client that should have answered. Raises ConnectionResetError: it is cut."""
        self._cut("stream.client_gone")

    async def refuse_dead_token(self) -> None:
        """Cut the stream of a token that was revoked or has expired meanwhile. Looks once in `recheck_seconds`."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at < self._limits.recheck_seconds:
            return
        self._checked_at = now
        if not await self._is_live(self._caller):
            self._cut("stream.token_ended")

    async def send_all(self, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
        """Send every chunk (of an async generator), then end the answer.

        Where the answer is not prepared yet, the first chunk is waited for: what is refused before it is a problem document.
        """
        async with self.watched(), aclosing(cast("AsyncGenerator[bytes, None]", chunks)) as flow:
            if not response.prepared:
                first = await anext(flow, b"")
                await response.prepare(self._request)
                await self.send(response, first)
            async for chunk in flow:
                await self.send(response, chunk)
        # Of chunks the end is one, too, and waits for who reads.
        await self.bear(response.write_eof())

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """End the stream with its token also while nothing is sent: a silent job may be followed for days."""
        async with beside(self._watch_token(), "stream token"):
            yield

    async def _watch_token(self) -> None:
        while True:
            await asyncio.sleep(self._limits.recheck_seconds)
            # Where the store can't be read just now, the next look tells.
            with suppress(StoreUnavailableError):
                try:
                    await self.refuse_dead_token()
                except ConnectionResetError:
                    return  # the end of the connection ends the stream's task

    def _cut(self, event: str) -> NoReturn:
        log.info(event, peer=self._request.remote, path=self._request.path)
        # Aborted, not closed: what lies in the buffer would wait for the same reader.
        if self._request.transport is not None:
            self._request.transport.abort()
        raise ConnectionResetError(event)
