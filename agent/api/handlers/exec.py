"""api/handlers/exec — a command in a running job over a WebSocket. Runs nothing itself: `jobs/execs` does.

No browser page speaks this yet, and a page sends its origin with each WebSocket, which it can open to anywhere: so each that
comes with one is refused, whatever cookie or forwarded socket it found.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from agent.aio import first_of
from agent.api.auth import Caller, is_local
from agent.api.endpoints import JOB_ID, Answer, Endpoint
from agent.api.exec_form import (
    EndInput,
    Resize,
    Start,
    Taken,
    read_control,
    read_start,
    refuse,
    write_error,
    write_exit,
    write_output,
    write_started,
)
from agent.api.streams import Stream, Streams
from agent.api.tokens import Scope
from agent.core.job import Job
from agent.errors import AgentError, Blame
from agent.interfaces import Store
from agent.jobs.execs import Asker, Attended, Execs, container_of
from agent.jobs.intake import unknown_job

# One more than may be: aiohttp takes it for the first size that is too large.
MOST_MESSAGE_BYTES = (256 << 10) + 1
# Of the client's answer to our close.
CLOSE_SECONDS = 2.0
# The daemon leaves within seconds, whoever is still there.
LEAVE_SECONDS = 0.5
# So many silences of a ping's length, and the client is gone.
MOST_SILENT_PINGS = 3


class OriginRefusedError(AgentError):
    """A browser page asked."""

    code, blame = "origin_refused", Blame.USER
    remedy = "Send no Origin header: pages of browsers may not open a command in a job."


class WebSocketNeededError(AgentError):
    code, blame = "websocket_needed", Blame.USER
    remedy = "Open it as a WebSocket (RFC 6455, version 13); `gpu-agent exec` does."


class TooSlowToStartError(AgentError):
    code, blame = "start_too_late", Blame.USER
    remedy = "Send the start message as soon as the WebSocket is open."


class ExecHandlers:
    def __init__(self, store: Store, execs: Execs, streams: Streams) -> None:
        self._store = store
        self._execs = execs
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        answers = {101: Answer("a WebSocket; its messages are described in docs/api.md")}
        return (
            Endpoint("GET", "/jobs/{id}/exec", Scope.EXEC, self.open, "Run a command in a running job", answers, (JOB_ID,)),
        )  # fmt: skip

    async def open(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        if "Origin" in request.headers:
            raise OriginRefusedError("a page of a browser may not open this")
        given = request.match_info["id"]
        job = await self._store.get(given.lower(), caller.viewer)
        if job is None:
            raise unknown_job(given)
        container_of(job)
        with self._streams.open(request, caller) as stream:
            socket = web.WebSocketResponse(
                timeout=CLOSE_SECONDS, autoping=False, compress=False, max_msg_size=MOST_MESSAGE_BYTES
            )
            if request.method != "GET" or not socket.can_prepare(request).ok:
                raise WebSocketNeededError("this is no opening of a WebSocket")
            async with stream.watched():
                await socket.prepare(request)
                await Talk(socket, stream, self._streams.limits.keep_alive_seconds).hold(
                    self._execs, job, asker_of(request, caller), self._streams.limits.header_seconds
                )
        return socket


def asker_of(request: web.Request, caller: Caller) -> Asker:
    token = None if caller.token is None else caller.token.id
    return Asker(caller.principal, token, None if is_local(request) else request.remote)


class Talk:
    """One WebSocket and what runs behind it. Memory is bounded in both directions: each waits for who takes its bytes."""

    def __init__(self, socket: web.WebSocketResponse, stream: Stream, ping_seconds: float) -> None:
        self._socket = socket
        self._stream = stream
        self._ping_seconds = ping_seconds
        self._window: int | None = None
        self._under_way = 0
        self._is_taken = asyncio.Event()
        self._heard_at = asyncio.get_running_loop().time()
        # While what was sent waits for a command that does not read: then we do not hear the client either.
        self._is_held = False

    async def hold(self, execs: Execs, job: Job, asker: Asker, start_seconds: float) -> None:
        try:
            start = await self._receive_start(start_seconds)
            if start is None:
                return
            self._window = start.window
            async with execs.open(job, start.plan, asker) as attended:
                await self._say(write_started())
                code = await first_of(self._show(attended), self._listen(attended), self._keep_alive())
            if code is not None:
                await self._say(write_exit(code))
                await self._socket.close(code=WSCloseCode.OK)
        except AgentError as error:
            message, close_code = write_error(error)
            await self._say(message)
            await self._socket.close(code=close_code, message=error.code.encode())
        except asyncio.CancelledError:
            # The daemon leaves, or the client has: to one that is still there, the reason is told.
            await self._leave()
            raise

    async def _receive_start(self, seconds: float) -> Start | None:
        """None: the client has left."""
        try:
            async with asyncio.timeout(seconds):
                message = await self._receive()
        except TimeoutError:
            raise TooSlowToStartError(f"no start message came in {seconds:g} s") from None
        if message is None:
            return None
        if message.type is not WSMsgType.TEXT:
            refuse("type", "the first message must be start, a text")
        return read_start(message.data)

    async def _show(self, attended: Attended) -> int | None:
        while (output := await attended.session.read()) is not None:
            await self._wait_for_room()
            self._under_way += len(output.data)
            await self._send(self._socket.send_bytes(write_output(output)))
        return await attended.exit_code()

    async def _wait_for_room(self) -> None:
        while self._window is not None and self._under_way >= self._window:
            self._is_taken.clear()
            await self._is_taken.wait()

    async def _listen(self, attended: Attended) -> None:
        """Returns when the client has left. Raises BadJsonError, BadRequestError."""
        session = attended.session
        while (message := await self._receive()) is not None:
            self._is_held = True
            if message.type is WSMsgType.BINARY:
                await session.write(message.data)
            else:
                match read_control(message.data):
                    case Resize(size):
                        await session.resize(size)
                    case EndInput():
                        await session.end_input()
                    case Taken(size):
                        self._under_way = max(0, self._under_way - size)
                        self._is_taken.set()
            self._is_held = False

    async def _receive(self) -> WSMessage | None:
        """The next text or bytes. None: the client has left."""
        while True:
            message = await self._socket.receive()
            self._heard_at = asyncio.get_running_loop().time()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    return message
                case WSMsgType.PING:
                    await self._send(self._socket.pong(message.data))
                case WSMsgType.PONG:
                    pass
                case _:  # closed by it, or torn, or too large a message: aiohttp has answered
                    return None

    async def _keep_alive(self) -> None:
        """Proxies close what is silent. And a client that was cut off from its network is found out."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ping_seconds)
            if not self._is_held and loop.time() - self._heard_at > MOST_SILENT_PINGS * self._ping_seconds:
                self._stream.cut_silent()
            await self._send(self._socket.ping())

    async def _say(self, text: str) -> None:
        await self._send(self._socket.send_str(text))

    async def _send(self, sending: Awaitable[None]) -> None:
        await self._stream.bear(sending)

    async def _leave(self) -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"the agent is leaving")
