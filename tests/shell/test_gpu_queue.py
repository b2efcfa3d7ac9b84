"""Who gets GPUs when, on fakes: a large job behind a stream of small ones, and one that waits for a GPU that nobody mends."""

import asyncio

import pytest

from agent.core.gpu_findings import Asked, Request
from agent.core.gpus import Gpu
from tests.fakes.engine import Program
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime
GIB = 2**30
MINUTE = 60.0


def gpus(count: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(f"GPU-{n}", "NVIDIA H100", 80 * GIB, pci=f"0{n}") for n in range(count))


async def hold(world: World, uuid: str, asked: Asked) -> None:
    assert world.shell is not None
    assert await world.shell.tools.gpu_care.request(uuid, Request(asked)) is None


@pytest.mark.slow
async def test_a_job_for_eight_gpus_behind_a_stream_of_jobs_for_one_starts_within_the_ageing_bound() -> None:
    """Five points behind, at one point a minute: who is accepted five minutes after it, or later, does not pass it."""
    world = World(concurrency=100)
    world.gpus.gpus = gpus(8)
    world.engine.program = Program(seconds=4 * MINUTE)
    await world.start()
    begun = [await world.submit(gpus=1, priority=5) for _ in range(8)]
    for job_id in begun:
        await world.until_phase(job_id, Phase.RUNNING, 60)
    big = await world.submit(gpus=8, priority=0)
    accepted = (await world.job(big)).created_at
    stream: list[str] = []
    while (await world.job(big)).phase is not Phase.RUNNING:
        # One each 20 s, where eight GPUs take one each 30 s: they are never without one that waits.
        stream.append(await world.submit(gpus=1, priority=5))
        await asyncio.sleep(20)
        # 8 + 15 before it, of 4 minutes each on 8 GPUs.
        assert world.clock.now() < accepted + (5 + 4 * (3 + 1)) * MINUTE
    started = (await world.job(big)).started_at
    assert started is not None
    passed = [
        job for job in [await world.job(one) for one in stream] if (job.started_at or started) < started
    ]
    assert passed
    assert all(job.created_at < accepted + 5 * MINUTE for job in passed)
    assert (await world.finish(big)).outcome is Outcome.SUCCEEDED
    after = [await world.finish(job_id, 3600) for job_id in stream]
    assert {job.outcome for job in after} == {Outcome.SUCCEEDED}
    await world.assert_all_is_well()
    await world.crash()


async def test_a_job_that_waits_for_a_gpu_that_only_an_operator_mends_says_so_and_others_go_on() -> None:
    world = World()
    world.gpus.gpus = gpus(2)
    world.engine.program = Program(seconds=30)
    await world.start()
    await asyncio.sleep(1)
    await hold(world, "GPU-1", Asked.QUARANTINE)
    big = await world.submit(gpus=2, priority=100)
    job = await world.until(big, lambda job: job.waiting_for == "gpu_repair", 60)
    assert job.waiting_words == "GPU-1, which is held until an operator restores it"
    for _ in range(2):
        small = await world.submit(gpus=1)
        assert (await world.finish(small, 60)).outcome is Outcome.SUCCEEDED
        await world.restart()
    await asyncio.sleep(1)
    await hold(world, "GPU-1", Asked.RESTORE)
    assert (await world.finish(big, 90)).outcome is Outcome.SUCCEEDED
    await world.assert_all_is_well()
    await world.crash()


async def test_a_gpu_that_waits_for_itself_and_then_for_somebody_stops_being_waited_for_at_once() -> None:
    world = World()
    world.gpus.gpus = gpus(2)
    world.engine.program = Program(seconds=5)
    await world.start()
    await asyncio.sleep(1)
    world.gpus.send_xid("GPU-1", 94)  # lifts by itself
    await asyncio.sleep(1)
    big, small = await world.submit(gpus=2, priority=100), await world.submit(gpus=1)
    await world.until(small, lambda job: job.waiting_for == "turn", 60)
    world.gpus.send_xid("GPU-1", 62)  # needs a reset
    assert (await world.until_phase(small, Phase.RUNNING, 5)).lease is not None
    assert (await world.job(big)).waiting_words == "GPU-1, which needs a reset"
    await world.crash()
