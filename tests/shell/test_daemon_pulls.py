"""A pull that no job asked for: in its turn, shared with the jobs that want the same image, and never for ever."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from agent.core.container import Credentials, Image, PullProgress
from agent.interfaces import EngineUnavailableError, PullFailedError
from agent.jobs.images import Images, PullTimes
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.shell.world import Phase, World

pytestmark = pytest.mark.looptime
NAME = "docker.io/library/new:latest"
FOUND = Image("sha256:new", f"{NAME}@sha256:1", 1000)


class StuckEngine(FakeEngine):
    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        self.pulls += 1
        yield PullProgress(1, 2, 0, 1)
        await asyncio.Event().wait()


async def read_all(images: Images, reference: str = NAME) -> list[PullProgress]:
    return [progress async for progress in images.pull(reference)]


async def test_a_pull_of_the_api_is_one_with_that_of_the_jobs_and_wakes_no_job() -> None:
    world = World()
    world.engine.registry["new"] = FOUND
    world.engine.pull_gate = asyncio.Event()
    await world.start()
    assert world.shell is not None
    job_id = await world.submit(image="new")
    await world.until(job_id, lambda _: world.engine.pulls == 1)
    reader = asyncio.ensure_future(read_all(world.shell.tools.images, "new"))
    await asyncio.sleep(2.3)
    world.engine.pull_gate.set()
    async with asyncio.timeout(0.5):  # at its end, and not at the next look at its progress
        assert await reader == [PullProgress(1, 2, 0, 1)]
    await world.until_phase(job_id, Phase.RUNNING)
    assert world.engine.pulls == 1
    await asyncio.sleep(1)
    assert world.shell.supervisor.broken == {}
    await world.crash()


async def test_a_pull_that_stands_still_ends_and_says_so() -> None:
    engine = StuckEngine(FakeClock())
    images = Images(engine, PullTimes(whole_seconds=1800, stall_seconds=120), lambda _: None)
    async with asyncio.TaskGroup() as group:
        images.use(group)
        with pytest.raises(PullFailedError, match="no progress") as told:
            await read_all(images)
    assert told.value.reason_code == "pull_stalled"


async def test_no_more_than_four_pulls_are_under_way_whoever_asked() -> None:
    engine = StuckEngine(FakeClock())
    images = Images(engine, PullTimes(whole_seconds=1800, stall_seconds=120), lambda _: None)
    async with asyncio.TaskGroup() as group:
        images.use(group)
        readers = [asyncio.ensure_future(read_all(images, f"image{number}")) for number in range(6)]
        await asyncio.sleep(5)
        assert engine.pulls == 4
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def test_who_leaves_off_ends_the_pull_that_nobody_else_wants() -> None:
    engine = StuckEngine(FakeClock())
    images = Images(engine, PullTimes(whole_seconds=1800, stall_seconds=120), lambda _: None)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        images.use(group)
        stream = images.pull(NAME)
        assert await anext(stream) == PullProgress(1, 2, 0, 1)
        await stream.aclose()
    # The group has ended: nothing goes on.


async def test_before_the_start_a_pull_is_refused_and_not_left_hanging() -> None:
    images = Images(StuckEngine(FakeClock()), PullTimes(60, 60), lambda _: None)
    with pytest.raises(EngineUnavailableError):
        await read_all(images)
