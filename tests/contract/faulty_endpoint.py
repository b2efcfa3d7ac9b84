"""faulty_endpoint — an HTTP endpoint on loopback that misbehaves as a test says. Speaks bytes, so that no library mends them."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Endpoint:
    """`requests`: head and body of each, as they came. `names`: what each TLS client asked for."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    async def are_all_over(self) -> None:
        """Waits until every connection has ended."""
        async with asyncio.timeout(5):
            while self.open:
                await asyncio.sleep(0.005)


Conversation = Callable[[Endpoint, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def say(text: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return behave


def answer(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hang(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_after_headers(writer: asyncio.StreamWriter) -> None:
    await say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")(writer)
    await hang(writer)


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte at a time, for ever, of a header that never ends."""
    await say(b"HTTP/1.1 200 OK\r\nX: ")(writer)
    while True:
        await say(b"x")(writer)
        await asyncio.sleep(0.02)


async def say_body_without_end(writer: asyncio.StreamWriter) -> None:
    await say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")(writer)
    while True:
        await say(b"10000\r\n" + b"x" * 65_536 + b"\r\n")(writer)


async def say_headers_without_end(writer: asyncio.StreamWriter) -> None:
    await say(b"HTTP/1.1 200 OK\r\n")(writer)
    while True:
        await say(b"X: " + b"y" * 1000 + b"\r\n")(writer)


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """Whatever the behaviour is, the request is read first."""

    async def converse(
        endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        endpoint.requests.append(await read_request(reader))
        await behave(writer)

    async with conversing(converse, tls) as endpoint:
        yield endpoint


@asynccontextmanager
async def conversing(converse: Conversation, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """Each connection is led as `converse` does. The kernel takes little in advance of what is read."""
    endpoint = Endpoint()
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: endpoint.names.append(name)

    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.connections += 1
        endpoint.open += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await converse(endpoint, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client has left
        finally:
            writer.close()
            tasks.discard(task)
            endpoint.open -= 1

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server = await asyncio.start_server(serve, sock=listening, ssl=tls, limit=8192)
    endpoint.port = listening.getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def take_all(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Request after request on one connection, all of them taken."""
    while True:
        endpoint.requests.append(await read_request(reader))
        await answer(200)(writer)


def take_in_steps(step_bytes: int, seconds: float) -> Conversation:
    """So many bytes of the body, then a pause, and so on."""

    async def converse(
        endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = size_in(head)
        while left > 0:
            left -= len(await reader.readexactly(min(step_bytes, left)))
            await asyncio.sleep(seconds)
        endpoint.requests.append(head)
        await answer(200)(writer)

    return converse


def after(body_bytes: int, behave: Behaviour) -> Conversation:
    """So much of the body is read, then comes what the behaviour is."""

    async def converse(
        endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        endpoint.requests.append(head + await reader.readexactly(body_bytes))
        await behave(writer)

    return converse


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(size_in(head))


def size_in(head: bytes) -> int:
    sizes = [
        line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    return int(sizes[0]) if sizes else 0


def make_certificate(folder: Path, name: str) -> Path:
    """A certificate of its own authority; the file holds its key too."""
    file = folder / f"{name}.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name} -keyout {file} -out {file}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file
