"""fakes/deliveries — an endpoint in memory that takes files: agent.interfaces.Deliveries without a protocol, for tests under a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from agent.core.delivery import Answer, Sent
from agent.core.job import Job
from agent.core.upload import MANIFEST
from agent.interfaces import Content, Offered, Places
from agent.spec import Upload

Behaviour = Callable[[str], Awaitable[Answer]]

BEGIN = "begin"


async def take(_path: str) -> Answer:
    return Sent()


@dataclass
class FakeDeliveries:
    """What came of each job is in `received`, as it came. `behave` answers for each path, and for BEGIN and MANIFEST, after the
    content was read; `before_reading` before it is.
    """

    behave: Behaviour = take
    before_reading: Behaviour = take
    opened: list[Upload] = field(default_factory=list)
    begun: list[tuple[Offered, ...]] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    received: dict[str, dict[str, bytes]] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0

    @asynccontextmanager
    async def open(self, job: Job, upload: Upload, places: Places) -> AsyncIterator["FakeDelivery"]:
        self.opened.append(upload)
        yield FakeDelivery(self, job.id, places)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """For as long as a request lasts."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            self.at_once -= 1

    def of(self, job_id: str) -> dict[str, bytes]:
        """What the endpoint has of the job, the manifest aside."""
        return {path: data for path, data in self.received.get(job_id, {}).items() if path != MANIFEST}


@dataclass
class FakeDelivery:
    endpoint: FakeDeliveries
    job_id: str
    places: Places

    async def begin(self, files: Sequence[Offered]) -> Answer:
        self.endpoint.begun.append(tuple(files))
        with self.endpoint.asked():
            return await self.endpoint.behave(BEGIN)

    async def send(self, content: Content) -> Answer:
        return await self._take(content)

    async def end(self, manifest: Content) -> Answer:
        return await self._take(manifest)

    async def _take(self, content: Content) -> Answer:
        endpoint = self.endpoint
        endpoint.tries.append(content.path)
        with endpoint.asked():
            early = await endpoint.before_reading(content.path)
            if not isinstance(early, Sent):
                return early
            data = b"".join([piece async for piece in content.part(0, content.size_bytes).pieces()])
            await asyncio.sleep(0)
            answer = await endpoint.behave(content.path)
            if isinstance(answer, Sent):
                endpoint.received.setdefault(self.job_id, {})[content.path] = data
            return answer
