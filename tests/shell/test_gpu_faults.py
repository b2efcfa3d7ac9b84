"""GPUs that fail while somebody counts on them, on fakes: under a job, between lease and start, and while idle."""

import asyncio

import pytest

from agent.core.gpu_findings import Absence, GpuState
from agent.jobs.gpu_care import IDLE_LOOK_SECONDS, LOOK_SECONDS
from tests.fakes.engine import Fate, Program
from tests.shell.gpu_world import ONE, PROBATION, TWO, host, running, state_of
from tests.shell.world import ME, Outcome, Phase

pytestmark = pytest.mark.looptime


@pytest.mark.slow
@pytest.mark.parametrize(("xid", "state"), [(48, GpuState.QUARANTINED), (999, GpuState.SUSPECT)])
async def test_an_xid_that_proves_nothing_yet_stops_no_job_and_keeps_the_gpu_from_the_next(
    xid: int, state: GpuState
) -> None:
    world = host(ONE, program=Program(seconds=20))
    await world.start()
    first = await running(world)
    world.gpus.send_xid("GPU-1", xid)
    await asyncio.sleep(1)
    assert state_of(world, "GPU-1") is state
    assert (await world.finish(first)).outcome is Outcome.SUCCEEDED
    second = await world.submit(gpus=1)
    await world.quiesce(PROBATION / 2)
    assert (await world.job(second)).phase is Phase.QUEUED
    assert (await world.finish(second, PROBATION)).outcome is Outcome.SUCCEEDED
    await world.crash()


@pytest.mark.parametrize("absence", Absence)
@pytest.mark.parametrize("step", ["create", "start"])
async def test_a_gpu_that_vanishes_between_its_lease_and_the_start_is_left_for_another(
    step: str, absence: Absence
) -> None:
    world = host(ONE, TWO, program=Program(seconds=3))
    is_away = True

    def choose(name: str, _target: str) -> Fate:
        return Fate.NEVER if is_away and name == step else Fate.WORKS

    world.engine.fates = choose
    await world.start()
    job_id = await world.submit(gpus=1)
    held = (await world.until(job_id, lambda job: job.lease is not None, 30)).lease
    assert held is not None
    world.gpus.absent[held.gpus[0]] = absence
    await asyncio.sleep(2)
    is_away = False
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    events = await world.store.events(ME, 0, job_id, 1000)
    chosen = [event.data["gpus"] for event in events if event.type == "job.gpus_chosen"]
    assert chosen == [list(held.gpus), [({"GPU-1", "GPU-2"} - set(held.gpus)).pop()]]
    assert world.engine.started_twice == []
    await world.crash()


async def test_a_gpu_that_vanishes_while_idle_is_nobodys_until_it_was_back_for_a_probation() -> None:
    world = host(ONE)
    await world.start()
    await asyncio.sleep(5)
    world.gpus.absent["GPU-1"] = Absence.GONE
    await asyncio.sleep(IDLE_LOOK_SECONDS)
    assert state_of(world, "GPU-1") is GpuState.MISSING
    job_id = await world.submit(gpus=1)
    world.gpus.absent.clear()
    await world.quiesce(PROBATION - 2 * LOOK_SECONDS)
    assert (await world.job(job_id)).phase is Phase.QUEUED
    assert (await world.finish(job_id, 6 * LOOK_SECONDS)).outcome is Outcome.SUCCEEDED
    await world.crash()


@pytest.mark.slow
async def test_a_driver_that_can_not_be_asked_ends_no_job_and_gives_its_gpu_to_nobody() -> None:
    """As after an upgrade of the driver, whose library no longer fits the module in the kernel."""
    world = host(ONE, TWO, program=Program(seconds=30))
    await world.start()
    first = await running(world)
    world.gpus.absent |= dict.fromkeys(("GPU-1", "GPU-2"), Absence.DRIVER_SILENT)
    await asyncio.sleep(2 * LOOK_SECONDS)
    second = await world.submit(gpus=1)
    done = await world.finish(first)
    assert (done.outcome, done.reason) == (Outcome.SUCCEEDED, None)
    await world.quiesce(2 * PROBATION)
    assert (await world.job(second)).phase is Phase.QUEUED
    world.gpus.absent.clear()
    assert (await world.finish(second, 2 * PROBATION)).outcome is Outcome.SUCCEEDED
    await world.crash()
