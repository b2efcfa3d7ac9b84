"""strict_endpoint — an HTTP server on loopback for the endpoints of uploads that a test reads the requests of. Speaks no protocol itself."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[["Request"], Awaitable[web.Response]]


@dataclass(frozen=True)
class Request:
    """As it came: `target` is the path and the query without any decoding, `headers` are by names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass
class Strict:
    """`faults`: what was wrong with requests, by the protocol's page. A test that goes well leaves none."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def check(self, holds: object, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


@asynccontextmanager
async def serving_strictly(handle: Handler, seen: Strict) -> AsyncIterator[None]:
    """Each request is read whole. None may be chunked, and all must tell their length."""

    async def serve(request: web.BaseRequest) -> web.Response:
        seen.at_once += 1
        seen.most_at_once = max(seen.most_at_once, seen.at_once)
        try:
            headers = {name.lower(): value for name, value in request.headers.items()}
            body = await request.content.read()
            taken = Request(request.method, request.raw_path, headers, body)
            seen.requests.append(taken)
            seen.check(len(headers) == len(request.headers), "a header twice")
            seen.check("transfer-encoding" not in headers, "chunked")
            seen.check(headers.get("content-length", "0") == str(len(body)), "content-length")
            return await handle(taken)
        finally:
            seen.at_once -= 1

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    seen.url = f"http://{host}:{port}"
    try:
        yield
    finally:
        await runner.cleanup()


def answer_json(content: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(content), content_type="application/json")
