"""adapters/docker/streams — what the engine sends without end, read over its socket so that it can be cancelled. Parses no frames."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing

import aiohttp

from agent.adapters.docker.client import API_VERSION, down, hangs
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.pace import FineTimer
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble

# Two of these may wait for a reader before the engine is held up.
BUFFER_BYTES = 1 << 20
# What comes at this pace is gathered for so long: what the engine writes meanwhile fits the socket, and nobody sees a delay.
BUSY_SECONDS, GATHER_NANOS = 0.005, 200_000


class Streams:
    """Each stream is a connection of its own; short answers share some. Open it in a running loop."""

    def __init__(self, socket: str, answer_seconds: float) -> None:
        self._socket = socket
        self._answer_seconds = answer_seconds
        # HTTP/1.0: the engine then sends without the chunked layer, which costs a reader more than the log itself. What
        # is lost with it is the mark of a whole answer: see `proof`.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket, limit=0),
            version=aiohttp.HttpVersion10,
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=BUFFER_BYTES,
            auto_decompress=False,
            trust_env=False,
        )
        # HTTP/1.1: a whole answer is marked as such, and its connection serves the next.
        self._short = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket),
            timeout=aiohttp.ClientTimeout(total=answer_seconds),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()
        await self._short.close()

    async def read(self, path: str, query: Mapping[str, str]) -> bytes:
        """A whole answer that is known to be short. Raises Refusal, EngineUnavailableError."""
        return await self._ask("GET", path, query, None)

    async def send(self, path: str, query: Mapping[str, str], body: Mapping[str, object]) -> bytes:
        """As `read`, of a POST. Cancelled or unanswered, it may still take effect."""
        return await self._ask("POST", path, query, body)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str], sent: Mapping[str, object] | None
    ) -> bytes:
        try:
            async with self._short.request(method, _url(path), params=query, json=sent) as response:
                body = await response.read()
        except TimeoutError as error:
            raise hangs(self._answer_seconds) from error
        except aiohttp.ClientConnectorError as error:
            raise down(self._socket, error) from error
        except aiohttp.ClientError as error:
            raise EngineUnavailableError(f"the engine broke off: {error}", Trouble.BROKEN) from error
        if response.status >= 400:
            raise Refusal(response.status, message_of(body.decode(errors="replace")))
        return body

    async def head(self, path: str, query: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of an answer alone. Raises Refusal, whose text is empty, and EngineUnavailableError."""
        try:
            async with self._short.head(_url(path), params=query) as response:
                headers = dict(response.headers)
        except TimeoutError as error:
            raise hangs(self._answer_seconds) from error
        except aiohttp.ClientConnectorError as error:
            raise down(self._socket, error) from error
        except aiohttp.ClientError as error:
            raise EngineUnavailableError(f"the engine broke off: {error}", Trouble.BROKEN) from error
        if response.status >= 400:
            raise Refusal(response.status, "")
        return headers

    @asynccontextmanager
    async def get(self, path: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come, in large pieces. Raises Refusal, EngineUnavailableError. Leaving ends the stream."""
        response = await self._request("GET", path, query, {}, self._answer_seconds)
        try:
            with closing(self._timer()) as timer:
                yield self._chunks(response, timer)
        finally:
            response.close()

    @asynccontextmanager
    async def post(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `get`, without a deadline for the first byte: the engine asks a registry before it answers."""
        response = await self._request("POST", path, query, headers, None)
        try:
            yield self._chunks(response, None)
        finally:
            response.close()

    def _timer(self) -> FineTimer:
        try:
            return FineTimer()
        except OSError as error:
            raise down(self._socket, error) from error

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        answer_seconds: float | None,
    ) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(answer_seconds):
                response = await self._session.request(method, _url(path), params=query, headers=headers)
                if response.status < 400:
                    return response
                text = await response.text(errors="replace")
        except TimeoutError as error:
            raise hangs(self._answer_seconds) from error
        except aiohttp.ClientError as error:
            raise down(self._socket, error) from error
        raise Refusal(response.status, message_of(text))

    async def _chunks(
        self, response: aiohttp.ClientResponse, timer: FineTimer | None
    ) -> AsyncIterator[bytes]:
        """With a timer, what comes fast is read in larger pieces."""
        loop = asyncio.get_running_loop()
        transport = None if response.connection is None else response.connection.transport
        came = 0.0
        try:
            while chunk := await response.content.readany():
                yield chunk
                before, came = came, loop.time()
                if timer is not None and transport is not None and came - before < BUSY_SECONDS:
                    await _let_gather(transport, timer)
        except aiohttp.ClientError as error:
            raise EngineUnavailableError(f"the engine broke off: {error}", Trouble.BROKEN) from error


async def _let_gather(transport: asyncio.Transport, timer: FineTimer) -> None:
    """The engine writes a few lines at a time: to be woken for each costs both sides more than the lines themselves."""
    if not transport.is_reading():
        return  # the session has paused it, with more than enough in its hands, and resumes it itself
    transport.pause_reading()
    await timer.wait(GATHER_NANOS)
    transport.resume_reading()


def _url(path: str) -> str:
    return f"http://docker/v{API_VERSION}{path}"


def message_of(text: str) -> str:
    """The engine's words out of `{"message": "…"}`; the body itself where something else answered."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines, of any length: an image's labels, which an event repeats, have no bound that we could rely on.

    Raises EngineUnavailableError at an end within a line: the engine ends each of its own, and so died.
    """
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        *whole, tail = rest.split(b"\n")
        for line in whole:
            if line.strip():
                yield bytes(line)
        rest = tail
    if rest.strip():
        raise EngineUnavailableError("the engine broke off within a line", Trouble.BROKEN)


class Proof:
    """That the engine lived through a stream, so that the stream's end is no broken connection.

    An HTTP/1.0 answer ends with its connection, in good order or because the engine died. So a second connection is opened
    *before* and asked *after*: only the process that accepted it can answer on it.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer_seconds: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer_seconds = answer_seconds

    @classmethod
    @asynccontextmanager
    async def taken(cls, socket: str, answer_seconds: float) -> AsyncIterator["Proof"]:
        """Raises EngineUnavailableError."""
        try:
            async with asyncio.timeout(answer_seconds):
                reader, writer = await asyncio.open_unix_connection(socket)
        except TimeoutError as error:
            raise hangs(answer_seconds) from error
        except OSError as error:
            raise down(socket, error) from error
        proof = cls(reader, writer, answer_seconds)
        try:
            # Asked at once, too: the engine closes a connection that says nothing, but not one that idles.
            await proof.ask()
            yield proof
        finally:
            writer.close()

    async def ask(self) -> None:
        """Raises EngineUnavailableError if the engine that was there at first is there no more."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                self._writer.write(b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
                await self._reader.readuntil(b"\r\n\r\n")
        except TimeoutError as error:
            raise hangs(self._answer_seconds) from error
        except (OSError, EOFError) as error:
            raise EngineUnavailableError("the engine ended while it was read from", Trouble.BROKEN) from error
