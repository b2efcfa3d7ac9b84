"""The agent's own side of one running function's socket: the real socket, the real session, a store and folders in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent.adapters.jobsocket import UnixJobSockets
from agent.aio import Threads, spawn
from agent.core.function import FunctionCall
from agent.core.job import Job
from agent.core.told import Told
from agent.jobs.functions import Functions
from tests.fakes.folders import FakeFolders
from tests.fakes.neighbours import FakeNeighbours
from tests.fakes.store import MemoryStore
from tests.shell.world import World

CALL = FunctionCall("mine", "22222222-0000-7000-8000-000000000001", "work", "main.py")


class Agent:
    """What hears one running function; `again` is another daemon after it, on the same disk."""

    def __init__(self, job: Job, store: MemoryStore, folders: FakeFolders, place: Path) -> None:
        self.job = job
        self.store = store
        self.folders = folders
        self._threads = Threads("test", 1)
        self._place = place
        self._sockets = UnixJobSockets(lambda _: place, self._threads)
        self.functions = Functions(store, folders, self._sockets)
        self.functions.answer_by(FakeNeighbours())

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        opened = asyncio.Event()
        hearing = asyncio.ensure_future(self._hear(opened))
        await asyncio.wait(
            [hearing, asyncio.ensure_future(opened.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        try:
            yield
        finally:
            # As when the daemon leaves: nobody is waited for.
            hearing.cancel()
            await asyncio.wait([hearing])
            await self._sockets.close_all()
            self._threads.close()

    async def _hear(self, opened: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            self.functions.use(group)
            spawn(group, self.functions.keep(), "keep")
            await self.functions.open(self.job)
            opened.set()

    def again(self) -> "Agent":
        return Agent(self.job, self.store, self.folders, self._place)

    async def told(self) -> Told:
        return await self.store.told(self.job.id)

    async def until_told(self, metric: str) -> None:
        async with asyncio.timeout(20):
            while metric not in (await self.told()).metrics:
                await asyncio.sleep(0.01)

    async def result(self) -> bytes:
        stored = await self.folders.report(self.job.id, self.job.attempt, 1 << 20)
        assert stored is not None
        assert stored.result is not None
        return stored.result


async def agent_with_a_job(place: Path, payload: bytes = b"{}") -> Agent:
    """One that has accepted it; its socket will be in `place`."""
    world = World()
    await world.start()
    job_id = await world.submit(call=CALL, payload=payload)
    job = await world.store.read(job_id)
    await world.crash()
    assert job is not None
    return Agent(job, world.store, world.folders, place)
