"""fakes/outgoing — endpoints in memory: agent.interfaces.Outgoing without a network, for tests under a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from agent.core.outgoing import Reply, SendTrouble, Unsent, may_set
from agent.interfaces import Body, OutgoingRequest

Endpoint = Callable[[OutgoingRequest], Awaitable[Reply | Unsent]]


async def take(_request: OutgoingRequest) -> Reply | Unsent:
    return Reply(204)


class FakeOutgoing:
    """Each request goes to the endpoint of its host, or else to `default`; all are kept in the order of their coming in.
    A body in pieces is read whole before the endpoint has the request, with the bytes for a body; its reading takes no time.
    """

    def __init__(self) -> None:
        self.default: Endpoint = take
        self.endpoints: dict[str, Endpoint] = {}
        self.requests: list[OutgoingRequest] = []
        self.at_once = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator["FakeOutgoing"]:
        yield self

    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        if not all(map(may_set, request.headers)):
            raise ValueError("such headers are not a user's to set")
        if not isinstance(request.body, bytes):
            request = replace(request, body=await _whole(request.body))
        self.requests.append(request)
        self.at_once += 1
        try:
            async with asyncio.timeout(request.seconds):
                return await self.endpoints.get(request.url.host, self.default)(request)
        except TimeoutError:
            return Unsent(SendTrouble.TOO_SLOW)
        finally:
            self.at_once -= 1


async def _whole(body: Body) -> bytes:
    async with aclosing(body.pieces()) as pieces:
        whole = b"".join([piece async for piece in pieces])
    if len(whole) != body.size_bytes:
        raise ValueError(f"a body of {body.size_bytes} bytes has {len(whole)}")
    return whole
