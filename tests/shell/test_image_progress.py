"""How far a pull is, told to each job that waits for it: by events, each of which is a write to the disk."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

import pytest

from agent.core.container import Credentials, PullProgress
from agent.jobs.images import TOLD_A_SECOND
from tests.fakes.engine import Program
from tests.shell.world import ME, Outcome, World

pytestmark = pytest.mark.looptime
SECONDS = 120


def pull_for(world: World, seconds: int, steps_a_second: int) -> None:
    async def pull(reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        for step in range(seconds * steps_a_second):
            yield PullProgress(step, seconds * steps_a_second, 0, 1)
            await asyncio.sleep(1 / steps_a_second)
        world.engine.images[reference] = world.engine.images["busybox"]

    world.engine.pull = pull  # type: ignore[method-assign] # a slow registry
    world.engine.program = Program(seconds=1)


async def told(world: World) -> Counter[str | None]:
    events = await world.store.events(ME, 0, None, 1_000_000)
    return Counter(event.job for event in events if event.type == "image.progress")


async def test_one_job_is_told_each_second() -> None:
    world = World()
    pull_for(world, SECONDS, steps_a_second=10)
    await world.start()
    job_id = await world.submit(image="new")
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    assert SECONDS - 5 <= (await told(world))[job_id] <= SECONDS
    await world.crash()


async def test_however_many_wait_for_it_the_disk_is_written_to_no_more_often_than_it_can_be() -> None:
    world = World(concurrency=500)
    pull_for(world, SECONDS, steps_a_second=10)
    await world.start()
    jobs = [await world.submit(image="new") for _ in range(300)]
    for job_id in jobs:
        await world.finish(job_id)
    counts = await told(world)
    assert sum(counts.values()) <= TOLD_A_SECOND * (SECONDS + 10)
    assert all(counts[job_id] >= 2 for job_id in jobs)
    await world.crash()


async def test_what_stands_still_is_told_once() -> None:
    world = World()
    pull_for(world, SECONDS, steps_a_second=10)
    works = world.engine.pull

    async def pull(reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        yield PullProgress(1, 2, 0, 1)
        await asyncio.sleep(30)
        async for progress in works(reference, credentials):
            yield progress

    world.engine.pull = pull  # type: ignore[method-assign] # a slow registry
    await world.start()
    job_id = await world.submit(image="new")
    await world.finish(job_id)
    events = await world.store.events(ME, 0, job_id, 10_000)
    done = [event.data["bytes_done"] for event in events if event.type == "image.progress"]
    assert len(done) == len(set(done))
    await world.crash()
