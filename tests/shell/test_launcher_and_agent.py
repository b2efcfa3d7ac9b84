"""The launcher and the agent's own side of its socket, with nothing between them but the socket: each keeps to what the other expects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.jobsocket import UnixJobSockets
from agent.aio import Threads, spawn
from agent.core.function import FaultKind, FunctionCall, Report, ReportStatus
from agent.core.job import Job
from agent.core.told import Told
from agent.jobs.functions import Functions
from tests.fakes.folders import FakeFolders
from tests.fakes.neighbours import FakeNeighbours
from tests.fakes.store import MemoryStore
from tests.shell.launched import Launched, end, launch, prepared
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
        return stored.result


@asynccontextmanager
async def performed(code: str, payload: bytes = b"{}") -> AsyncIterator[tuple[Agent, Launched]]:
    """The agent hears it."""
    world = World()
    await world.start()
    job_id = await world.submit(call=CALL, payload=payload)
    job = await world.store.read(job_id)
    await world.crash()
    assert job is not None
    async with prepared(code, {}) as (root, host):
        agent = Agent(job, world.store, world.folders, root / "job")
        async with agent.heard():
            launcher = await launch(root, host)
            try:
                yield agent, launcher
            finally:
                await end(launcher)


async def test_what_a_function_tells_and_returns_is_kept() -> None:
    code = """
    @chute.job()
    async def work(self, **payload):
        await self.update_job_progress(progress=50, message="half")
        await self.record_metric("loss", 0.5)
        await self.update_job_status("task", "done")
        child = await self.start_job("other", {"n": 1})
        return [payload["n"], child, await self.get_job_status(child), await self.cancel_job(child), self.job_ports]
    """
    async with performed(code, b'{"n":\n7}') as (agent, launcher):
        assert await launcher.code() == 0, await launcher.err()
        assert await agent.functions.end(agent.job) == Report(ReportStatus.SUCCEEDED)
        assert await agent.result() == b'[7, "child", {"id": "child"}, true, [{"name": "web"}]]'
        told = await agent.told()
        assert told.progress is not None
        assert (told.progress.percent, told.statuses, list(told.metrics)) == (50, {"task": "done"}, ["loss"])


async def test_an_exception_is_kept_with_its_kind_and_text() -> None:
    code = """
    @chute.job()
    async def work(self):
        raise PermanentError("never")
    """
    async with performed(code) as (agent, launcher):
        assert await launcher.code() == 1
        report = await agent.functions.end(agent.job)
        assert report == Report(ReportStatus.FAILED, FaultKind.PERMANENT, "PermanentError", "never")


@pytest.mark.slow
async def test_a_flood_of_the_largest_reports_is_taken_whole() -> None:
    code = """
    @chute.job()
    async def work(self):
        for number in range(100):
            await self.update_job_status("\N{GRINNING FACE}" * 1_000 + str(number), "\N{GRINNING FACE}" * 1_000)
        for number in range(9_000):
            await self.record_metric("n", number)
        return "x" * 8_000_000
    """
    async with performed(code) as (agent, launcher):
        assert await launcher.code() == 0, await launcher.err()
        assert await agent.functions.end(agent.job) == Report(ReportStatus.SUCCEEDED)
        told = await agent.told()
        assert told.metrics["n"].count == 9_000


@pytest.mark.slow
async def test_another_agent_on_the_same_disk_counts_nothing_twice() -> None:
    code = """
    @chute.job()
    async def work(self):
        for number in range(50):
            await self.record_metric("n", 1)
            await asyncio.sleep(0.02)
        return 1
    """
    async with performed(code) as (agent, launcher):
        await agent.until_told("n")
        async with agent.again().heard():
            assert await launcher.code() == 0, await launcher.err()
        assert (await agent.told()).metrics["n"].count == 50
