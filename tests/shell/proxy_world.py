"""The API on fakes with a job whose port is a real socket: scripted by each test, and shown as raw bytes on both sides."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.api.limits import ApiLimits
from agent.api.proxy.pages import PageDomain
from agent.core.job import Job, Viewer
from agent.core.lease import Lease, PortLease
from agent.errors import Phase
from agent.spec import Proto
from tests.shell.api_world import BODY, LONG, ApiWorld, api_world

PORTS = [
    {"name": "web", "port": 8080, "proto": "http"},
    {"name": "other", "port": 8081, "proto": "http"},
    {"name": "db", "port": 9000, "proto": "tcp"},
]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DOMAIN = PageDomain("jobs.localhost", "http", 8470)

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class JobSide:
    """What listens at the job's port. `heads`: the head of each request, as it came; `script` goes on behind it."""

    script: Script | None = None
    heads: list[bytes] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            assert self.script is not None
            await self.script(reader, writer)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.errors.append(error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def headers(self, at: int = -1) -> list[tuple[str, str]]:
        """Of a request: name in lower case, and value."""
        lines = self.heads[at].decode().split("\r\n")[1:-2]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str, at: int = -1) -> list[str]:
        return [value for given, value in self.headers(at) if given == name]

    def answers(self, *pieces: bytes) -> None:
        async def send(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()

        self.script = send


@dataclass(slots=True)
class ProxyWorld:
    api: ApiWorld
    side: JobSide
    job: str

    @property
    def base(self) -> str:
        return f"/v1/jobs/{self.job}/ports/web"

    @property
    def host(self) -> str:
        return f"web--{self.job}.jobs.localhost"

    async def change(self, **changes: object) -> Job:
        job = await self.api.store.read(self.job)
        assert job is not None
        return await self.api.store.save(replace(job, **changes))  # type: ignore[arg-type] # fields by name

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self.api.sites is not None
        return await asyncio.open_connection("127.0.0.1", self.api.sites.port)

    async def raw(self, request: bytes, seconds: float = 10.0) -> bytes:
        """Send these bytes, and read until the agent hangs up."""
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(seconds):
                writer.write(request)
                return await reader.read()
        finally:
            writer.close()

    async def ask(self, path: str = "/", method: str = "GET", *lines: str, body: bytes = b"") -> bytes:
        """One request by path, with the token, on a connection that ends with its answer."""
        head = [
            f"{method} {self.base}{path} HTTP/1.1",
            "Host: agent",
            self.bearer,
            "Connection: close",
            *lines,
        ]
        return await self.raw("\r\n".join([*head, "", ""]).encode() + body)

    @property
    def bearer(self) -> str:
        return f"Authorization: Bearer {self.api.token}"

    async def visit(
        self, path: str = "/", *lines: str, host: str | None = None, method: str = "GET"
    ) -> bytes:
        """One request by host name, on a connection that ends with its answer."""
        head = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.host if host is None else host}",
            "Connection: close",
            *lines,
        ]
        return await self.raw("\r\n".join([*head, "", ""]).encode())

    async def open(self, port: str = "web", path: str = "/") -> str:
        """The path and query of a one-time URL."""
        reply = await self.api.call("POST", f"/v1/jobs/{self.job}/open", {"port": port, "path": path})
        assert reply.status == 201, reply.raw
        return "/" + str(reply.json["url"]).split("/", 3)[3]

    async def cookie(self) -> str:
        """A visitor's Cookie header, got as a browser gets it."""
        answer = await self.visit(await self.open())
        assert status_of(answer) == 303, answer
        (given,) = header_of(answer, "set-cookie")
        return f"Cookie: {given.partition(';')[0]}"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header_of(answer: bytes, name: str) -> list[str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for given, _, value in pairs if given.lower() == name]


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


async def add_running(api: ApiWorld, host_port: int) -> str:
    """A job of alice's that runs, as its row says."""
    body = {**BODY, "ports": PORTS, "network": "egress"}
    job = (await api.intake.submit(Viewer("alice"), body)).job
    ports = (
        PortLease("web", 8080, Proto.HTTP, host_port),
        PortLease("other", 8081, Proto.HTTP, host_port),
        PortLease("db", 9000, Proto.TCP, host_port),
    )
    await api.store.save(replace(job, phase=Phase.RUNNING, lease=Lease(ports=ports)))
    return job.id


@asynccontextmanager
async def proxy_world(
    tmp: Path,
    *,
    limits: ApiLimits = LONG,
    domain: PageDomain | None = DOMAIN,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ProxyWorld]:
    side = JobSide()
    server = await asyncio.start_server(side.serve, "127.0.0.1", 0)
    side.port = server.sockets[0].getsockname()[1]
    try:
        async with api_world(tmp, api_limits=limits, page_domain=domain, tls=tls) as api:
            yield ProxyWorld(api, side, await add_running(api, side.port))
    finally:
        server.close()
        await server.wait_closed()
