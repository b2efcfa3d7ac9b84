"""upload_ways — a way to an endpoint, by the deliveries under test. Holds no test."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from agent.adapters.outgoing import OutgoingClient
from agent.adapters.uploads import UploadDeliveries
from agent.core.delivery import Answer, Failure, Sent
from agent.core.job import Job
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.interfaces import Delivery, Offered
from agent.spec import Upload
from tests.contract.outgoing_world import client
from tests.contract.upload_values import File, KeptPlaces, ended_job
from tests.contract.upload_worlds import World, set_up


class Destination(Protocol):
    """An endpoint, by whatever server. `manifest`: its name there; None where the protocol has none."""

    @property
    def upload(self) -> Upload: ...

    @property
    def manifest(self) -> str | None: ...

    async def files(self) -> dict[str, bytes]:
        """What arrived whole, by the names under which it was sent."""
        ...


D_co = TypeVar("D_co", bound=Destination, covariant=True)


@dataclass
class Way(Generic[D_co]):
    """A world, and a way to it."""

    world: D_co
    outgoing: OutgoingClient
    places: KeptPlaces = field(default_factory=KeptPlaces)
    job: Job = field(default_factory=ended_job)

    @asynccontextmanager
    async def opened(
        self, files: Sequence[File] = (), job: Job | None = None, upload: Upload | None = None
    ) -> AsyncIterator[Delivery]:
        deliveries = UploadDeliveries(self.outgoing)
        async with deliveries.open(job or self.job, upload or self.world.upload, self.places) as delivery:
            assert await delivery.begin([Offered(file.path, file.size_bytes) for file in files]) == Sent()
            yield delivery

    async def send(self, *files: File) -> list[Answer]:
        """One after the other."""
        async with self.opened(files) as delivery:
            return [await delivery.send(file) for file in files]


W = TypeVar("W", bound=World)


@asynccontextmanager
async def to(world: W) -> AsyncIterator[Way[W]]:
    async with set_up(world), client() as outgoing:
        yield Way(world, outgoing)
    assert world.faults == []


def is_known(answer: Answer, code: str) -> bool:
    return isinstance(answer, Failure) and answer.code == code and code in UPLOAD_TROUBLES
