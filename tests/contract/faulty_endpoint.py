"""faulty_endpoint — an HTTP endpoint on loopback that misbehaves as a test says. Speaks bytes, so that no library mends them."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Endpoint:
    """`requests`: head and body of each, as they came. `names`: what each TLS client asked for."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    connections: int = 0


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
    endpoint = Endpoint()
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: endpoint.names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.connections += 1
        try:
            endpoint.requests.append(await read_request(reader))
            await behave(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client has left
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    endpoint.port = server.sockets[0].getsockname()[1]
    tasks_before = asyncio.all_tasks()
    try:
        yield endpoint
    finally:
        server.close()
        for task in asyncio.all_tasks() - tasks_before:
            task.cancel()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    sizes = [
        line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    return head + await reader.readexactly(int(sizes[0]) if sizes else 0)


def make_certificate(folder: Path, name: str) -> Path:
    """A certificate of its own authority; the file holds its key too."""
    file = folder / f"{name}.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -addext subjectAltName=DNS:{name} -keyout {file} -out {file}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file
