"""fakes/outgoing — endpoints in memory: agent.interfaces.Outgoing without a network, for tests under a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agent.core.outgoing import Reply, SendTrouble, Unsent, may_set
from agent.interfaces import OutgoingRequest

Endpoint = Callable[[OutgoingRequest], Awaitable[Reply | Unsent]]


async def take(_request: OutgoingRequest) -> Reply | Unsent:
    return Reply(204)


class FakeOutgoing:
    """Each request goes to the endpoint of its host, or else to `default`; all are kept in the order of their coming in."""

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
        self.requests.append(request)
        self.at_once += 1
        try:
            async with asyncio.timeout(request.seconds):
                return await self.endpoints.get(request.url.host, self.default)(request)
        except TimeoutError:
            return Unsent(SendTrouble.TOO_SLOW)
        finally:
            self.at_once -= 1
