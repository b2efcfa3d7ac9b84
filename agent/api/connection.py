"""api/connection — one connection to the API, with the limits that aiohttp has not. Knows no endpoint."""

import asyncio
from typing import Any, cast

from aiohttp import web

from agent.api.limits import ApiLimits
from agent.api.problems import describe_crash, describe_malformed


class ApiConnection(web.RequestHandler):
    """One connection. It is closed where its headers take too long, and ends its stream when the client goes.

    aiohttp has a limit for idle connections only: one that sends a byte of a header now and then is not idle.
    """

    __slots__ = ("_header_seconds", "_header_timer", "stream_task")

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop, limits: ApiLimits) -> None:
        # Bodies are taken as they are: a compressed one could unpack to anything.
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=limits.header_seconds,  # of a body that nobody wants
            access_log=cast("Any", None),
            auto_decompress=False,
        )
        self._header_seconds = limits.header_seconds
        self._header_timer: asyncio.TimerHandle | None = None
        self.stream_task: asyncio.Task[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._stop_waiting()
            self._break_body()
        elif data and self._is_between_requests():
            self._await_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_waiting()
        if self.stream_task is not None:
            # A stream may have nothing to send for hours, and would not notice that nobody is there.
            self.stream_task.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is answered where no handler was reached: bytes that are not HTTP, and defects outside of our own code."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun already") from exc
        if status == 400:
            response = describe_malformed(message)
        else:
            self.log_exception("request failed outside of its handler", exc_info=exc)
            response = describe_crash()
        response.force_close()
        return response

    def _break_body(self) -> None:
        """Something new was read, and the body before it had no end: it is not well-formed, which its reader is never told."""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("the body is not well-formed"))
            request.content.feed_eof()

    def _is_between_requests(self) -> bool:
        """Told by aiohttp's wait for the next one alone: a request that was taken from its queue is for a turn of the loop in none of its marks."""
        return self._waiter is not None and not self._waiter.done()

    def _await_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self._loop.call_later(self._header_seconds, self._close_slow)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _close_slow(self) -> None:
        self._header_timer = None
        self.force_close()
