"""api/proxy/exchange — one request passed on to a job's port and its answer passed back, piece by piece. Chooses neither port nor way.

Each exchange has a connection of its own to the job: what one request leaves behind on it can be no other's answer. Pieces are
as large as READ_BYTES at most, and the next is read when the last has been taken: a slow side slows the other down.
"""

import asyncio
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from agent.aio import beside
from agent.api.auth import Caller, is_local
from agent.api.limits import ApiLimits
from agent.api.proxy.targets import Target, Targets
from agent.api.proxy.tunnel import Tunnel
from agent.api.streams import Stream, Streams
from agent.core.proxy_bodies import reader_of
from agent.core.proxy_headers import ByHost, Sender, Way, for_the_client, for_the_job, websocket_key
from agent.core.proxy_heads import (
    AnswerHead,
    BadAnswerError,
    BadRequestHeadError,
    Chunked,
    Framing,
    Sized,
    UntilClose,
    answer_framing,
    find_head_end,
    read_answer,
    request_framing,
    values_of,
    write_request,
)
from agent.errors import AgentError, Blame
from agent.interfaces.job_ports import JobConnection, JobPorts, PortUnreachableError

READ_BYTES = 256 << 10
# 100 Continue, 103 Early Hints: a server sends one or two.
MAX_INTERIM_ANSWERS = 16
# How often the deadline of an exchange that goes on is put off; less would only cost.
PUT_OFF_SECONDS = 0.5


class PortSilentError(AgentError):
    """The job's port took the request and did not answer."""

    code, blame = "port_silent", Blame.USER
    remedy = "See in the job's log what its program does; answers whose headers take minutes are better asked for in two steps."


@dataclass(frozen=True, slots=True)
class Asked:
    """What to pass on where: `path` is the target that the job gets; `scheme` is how the client reached us."""

    target: Target
    way: Way
    path: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Exchanges:
    ports: JobPorts
    targets: Targets
    streams: Streams

    async def pass_on(self, request: web.Request, caller: Caller, asked: Asked) -> web.StreamResponse:
        """Raises the errors above and those of `core/proxy_heads`, PortUnreachableError, JobNotRunningError, TooManyStreamsError."""
        headers = list(request.headers.items())
        framing, key = request_framing(headers), websocket_key(request.method, headers)
        if key is not None and request.version < HttpVersion11:
            raise BadRequestHeadError("a WebSocket needs HTTP/1.1")
        passed = for_the_job(headers, framing, sender_of(request, asked.scheme), asked.way, key)
        head = write_request(request.method, asked.path, passed)
        limits = self.streams.limits
        with self.streams.open(request, caller) as stream:
            connecting = self.ports.connect(asked.target.lease.host_port, limits.port_connect_seconds)
            async with stream.watched(), connecting as connection:
                await self.targets.check_again(asked.target)
                return await Exchange(
                    request, stream, connection, Wanted(asked.way, framing, key), limits
                ).run(head)


def sender_of(request: web.Request, scheme: str) -> Sender:
    address = None if is_local(request) else request.remote
    return Sender(address, scheme, request.headers.get("Host", ""))


@dataclass(frozen=True, slots=True)
class Wanted:
    """`framing`: of the request's body. `key`: of a WebSocket's handshake."""

    way: Way
    framing: Framing
    key: str | None


class Exchange:
    """One request, its answer, and the deadline that each piece of either puts off."""

    def __init__(
        self,
        request: web.Request,
        stream: Stream,
        connection: JobConnection,
        wanted: Wanted,
        limits: ApiLimits,
    ) -> None:
        self._request = request
        self._stream = stream
        self._connection = connection
        self._wanted = wanted
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._deadline = asyncio.timeout(None)
        self._seconds = limits.port_answer_seconds
        self._put_off_at = 0.0
        self._is_body_sent = wanted.framing == Sized(0)
        self._body_fault: BaseException | None = None

    async def run(self, head: bytes) -> web.StreamResponse:
        try:
            async with self._deadline:
                self._wait_at_most(self._limits.port_answer_seconds)
                await self._connection.write(head)
                await say_continue(self._request)
                async with beside(self._send_body(), "proxied body"):
                    return await self._answer()
        except TimeoutError as late:
            if self._body_fault is not None:
                raise BadRequestHeadError("the request's body broke off, or is not well-formed") from late
            raise PortSilentError(f"nothing came from the job's port for {self._seconds:g} s") from late

    async def _send_body(self) -> None:
        try:
            async for piece in self._request.content.iter_any():
                await self._send_piece(piece)
            if isinstance(self._wanted.framing, Chunked):
                await self._connection.write(b"0\r\n\r\n")
            self._is_body_sent = True
        except PortUnreachableError:
            pass  # it may have answered without reading on: what comes back tells
        except (web.RequestPayloadError, OSError) as fault:
            # Not ended, but broken off: the job must not take half of a body for the whole.
            self._body_fault = fault
            self._deadline.reschedule(self._loop.time())

    async def _send_piece(self, piece: bytes) -> None:
        if isinstance(self._wanted.framing, Chunked):
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        await self._connection.write(piece)
        self._put_off()

    async def _answer(self) -> web.StreamResponse:
        head, rest = await self._read_head()
        if head.status == 101:
            return await self._switch(head, rest)
        framing = answer_framing(head, self._request.method)
        response = self._begin(head, framing)
        await response.prepare(self._request)
        self._wait_at_most(self._limits.port_idle_seconds)
        await self._send_answer(response, framing, rest)
        if not self._is_body_sent:
            response.force_close()
        await response.write_eof()
        return response

    async def _send_answer(self, response: web.StreamResponse, framing: Framing, data: bytes) -> None:
        reader = reader_of(framing)
        while True:
            if body := reader.feed(data):
                await self._stream.send(response, body)
            if reader.is_done:
                return
            data = await self._connection.read(READ_BYTES)
            if not data:
                reader.end()
                return
            self._put_off()
            # Where both sides are quick, nothing above has to wait: others have their turn here.
            await asyncio.sleep(0)

    async def _read_head(self) -> tuple[AnswerHead, bytes]:
        """The head of the final answer, and what came behind it."""
        buffer = bytearray()
        for _ in range(MAX_INTERIM_ANSWERS):
            while (end := find_head_end(buffer)) is None:
                piece = await self._connection.read(READ_BYTES)
                if not piece and not buffer:
                    raise PortUnreachableError("the job's port hung up without an answer")
                if not piece:
                    raise BadAnswerError("the answer broke off within its headers")
                buffer += piece
            head = read_answer(bytes(buffer[:end]))
            del buffer[:end]
            if head.status >= 200 or head.status == 101:
                return head, bytes(buffer)
        raise BadAnswerError("the job's port sends interim answers without an end")

    def _begin(self, head: AnswerHead, framing: Framing) -> web.StreamResponse:
        headers = for_the_client(head.headers, self._wanted.way)
        response = web.StreamResponse(status=head.status, reason=head.reason, headers=headers)
        has_length = isinstance(framing, Sized) and head.status not in {204, 304}
        if has_length and self._request.method == "HEAD":
            # What a GET would have: of no body, so it frames nothing.
            lengths = [text for text in values_of(head.headers, "content-length") if text.isdecimal()]
            response.content_length = int(lengths[0][:18]) if lengths else None
        elif isinstance(framing, Sized) and has_length:
            response.content_length = framing.length
        elif isinstance(framing, UntilClose) and self._request.version < HttpVersion11:
            response.force_close()
        if isinstance(self._wanted.way, ByHost):
            response.headers.setdefault("Server", "gpu-agent")
        return response

    async def _switch(self, head: AnswerHead, rest: bytes) -> web.StreamResponse:
        if self._wanted.key is None:
            raise BadAnswerError("the job's port switches the protocol, and nobody asked it to")
        tunnel = Tunnel(self._request, self._stream, self._connection, self._put_off)
        self._wait_at_most(self._limits.port_idle_seconds)
        return await tunnel.run(head, rest, self._wanted.key, self._wanted.way)

    def _wait_at_most(self, seconds: float) -> None:
        self._seconds = seconds
        self._put_off_at = 0.0
        self._put_off()

    def _put_off(self) -> None:
        now = self._loop.time()
        if now - self._put_off_at >= PUT_OFF_SECONDS and self._body_fault is None:
            self._put_off_at = now
            self._deadline.reschedule(now + self._seconds)


async def say_continue(request: web.Request) -> None:
    """Ask for the body of a client that waits to be asked: the job has taken the connection."""
    expected = request.headers.get("Expect", "").lower()
    if expected and expected != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expected[:64]}")
    if expected and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is no answer yet: what goes wrong from here on can still be told.
        request.writer.output_size = 0


async def expect_nothing(_request: web.Request) -> None:
    """For the router, which would ask for the body at once: the exchange does, when the job is there to take it."""
