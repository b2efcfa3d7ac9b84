"""api/proxy/exchange — one request passed on to a job's port and its answer passed back, piece by piece. Chooses neither port nor way.

Each exchange has a connection of its own to the job: what one request leaves behind on it can be no other's answer. Pieces are
as large as `Wire` says at most, and the next is read when the last has been taken: a slow side slows the other down.
"""

import asyncio
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from agent.aio import beside
from agent.api.auth import Caller, is_local
from agent.api.limits import ApiLimits
from agent.api.proxy.targets import Target, Targets
from agent.api.proxy.tunnel import Tunnel
from agent.api.proxy.wire import AnswerHead, Wire
from agent.api.streams import Stream, Streams
from agent.core.proxy_headers import ByHost, Sender, Way, for_the_client, for_the_job, websocket_key
from agent.core.proxy_heads import NO_BODY, BadAnswerError, BadRequestHeadError, Framing, request_framing
from agent.errors import AgentError, Blame
from agent.interfaces.job_ports import JobConnection, JobPorts, PortUnreachableError

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
        wire = Wire()
        head = wire.ask(request.method, asked.path, passed, framing)
        limits = self.streams.limits
        with self.streams.open(request, caller) as stream:
            connecting = self.ports.connect(asked.target.lease.host_port, limits.port_connect_seconds)
            async with stream.watched(), connecting as connection:
                await self.targets.check_again(asked.target)
                wanted = Wanted(asked.way, framing, key, wire)
                return await Exchange(request, stream, connection, wanted, limits).run(head)


def sender_of(request: web.Request, scheme: str) -> Sender:
    address = None if is_local(request) else request.remote
    return Sender(address, scheme, request.headers.get("Host", ""))


@dataclass(frozen=True, slots=True)
class Wanted:
    """`framing`: of the request's body. `key`: of a WebSocket's handshake. `wire`: has been asked."""

    way: Way
    framing: Framing
    key: str | None
    wire: Wire


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
        self._wire = wanted.wire
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._deadline = asyncio.timeout(None)
        self._seconds = limits.port_answer_seconds
        self._put_off_at = 0.0
        self._is_body_sent = wanted.framing == NO_BODY
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
                await self._connection.write(self._wire.write(piece))
                self._put_off()
            if not self._is_body_sent:
                await self._connection.write(self._wire.end())
                self._is_body_sent = True
        except PortUnreachableError:
            return  # it may have answered without reading on: what comes back tells
        except (web.RequestPayloadError, OSError) as fault:
            # Not ended, but broken off: the job must not take half of a body for the whole.
            self._body_fault = fault
            self._deadline.reschedule(self._loop.time())

    async def _answer(self) -> web.StreamResponse:
        head = await self._read_head()
        if head.status == 101:
            return await self._switch(head)
        response = self._begin(head)
        await response.prepare(self._request)
        self._wait_at_most(self._limits.port_idle_seconds)
        await self._send_answer(response)
        if not self._is_body_sent:
            response.force_close()
        await response.write_eof()
        return response

    async def _read_head(self) -> AnswerHead:
        """The head of the final answer."""
        while (head := self._wire.take_head()) is None:
            piece = await self._connection.read(self._wire.read_at_most)
            if not piece and not self._wire.rest:
                raise PortUnreachableError("the job's port hung up without an answer")
            self._wire.feed(piece)
        return head

    async def _send_answer(self, response: web.StreamResponse) -> None:
        while not self._wire.is_over:
            if body := self._wire.take_body():
                await self._stream.send(response, body)
                # Where both sides are quick, nothing above has to wait: others have their turn here.
                await asyncio.sleep(0)
            elif not self._wire.is_over:
                self._wire.feed(await self._connection.read(self._wire.read_at_most))
                self._put_off()

    def _begin(self, head: AnswerHead) -> web.StreamResponse:
        headers = for_the_client(head.headers, self._wanted.way)
        response = web.StreamResponse(status=head.status, reason=head.reason, headers=headers)
        if head.length is not None and head.status not in {204, 304}:
            # Of HEAD's answer it is what a GET would have: of no body, so it frames nothing.
            response.content_length = head.length
        elif self._request.version < HttpVersion11:
            response.force_close()
        if isinstance(self._wanted.way, ByHost):
            response.headers.setdefault("Server", "gpu-agent")
        return response

    async def _switch(self, head: AnswerHead) -> web.StreamResponse:
        if self._wanted.key is None:  # h11 has refused that already; no tunnel is to hang on it alone
            raise BadAnswerError("the job's port switches the protocol, and nobody asked it to")
        tunnel = Tunnel(self._request, self._stream, self._connection, self._put_off)
        self._wait_at_most(self._limits.port_idle_seconds)
        return await tunnel.run(head, self._wire.rest, self._wanted.key, self._wanted.way)

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
