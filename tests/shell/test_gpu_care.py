"""GPUs on fakes: given out clean, watched while leased, kept from all once they are bad, whatever happens to the daemon."""

import asyncio

import pytest

from agent.core.gpu_findings import Absence, Asked, Facts, GpuState, Request
from agent.core.job import Job
from agent.jobs.gpu_care import IDLE_LOOK_SECONDS, LOOK_SECONDS
from tests.fakes.engine import Fate, Program
from tests.shell.boundaries import DeathOfTheDaemon
from tests.shell.gpu_world import ONE, PROBATION, TWO, care_of, host, running, state_of
from tests.shell.world import ME, Outcome, Phase

pytestmark = pytest.mark.looptime


def code_of(job: Job) -> str | None:
    return None if job.reason is None else job.reason.code


async def test_two_jobs_have_each_a_gpu_of_their_own_and_a_third_waits_for_one() -> None:
    world = host(ONE, TWO, program=Program(seconds=20))
    await world.start()
    first, second = await running(world), await running(world)
    third = await world.submit(gpus=1)
    job = await world.until(third, lambda job: job.waiting_for == "gpus", 20)
    held = {(await world.job(one)).lease for one in (first, second)}
    assert {lease.gpus for lease in held if lease} == {("GPU-1",), ("GPU-2",)}
    assert job.lease is None
    for one in (first, second, third):
        assert (await world.finish(one)).outcome is Outcome.SUCCEEDED
    await world.assert_all_is_well()
    await world.crash()


async def test_an_xid_of_the_gpu_ends_its_job_as_the_hosts_fault_and_no_restart_gives_it_out_again() -> None:
    world = host(ONE, program=Program())
    await world.start()
    job_id = await running(world)
    world.gpus.send_xid("GPU-1", 62)
    job = await world.finish(job_id, 60)
    assert (job.outcome, code_of(job)) == (Outcome.FAILED, "gpu_fault")
    assert job.reason is not None
    assert (job.reason.blame, job.reason.retryable) == ("host", True)
    assert "XID 62" in job.reason.message
    waiting = await world.submit(gpus=1)
    await world.restart()
    await world.quiesce(2 * PROBATION)
    assert state_of(world, "GPU-1") is GpuState.QUARANTINED
    assert (await world.job(waiting)).phase is Phase.QUEUED
    await world.crash()


async def test_a_death_just_after_an_xid_was_judged_leaves_no_job_on_the_gpu() -> None:
    world = host(ONE, program=Program())
    await world.start()
    job_id = await running(world)

    async def die(step: str) -> None:
        if step == "keep_gpu_healths":
            raise DeathOfTheDaemon

    world.store.after = die
    world.gpus.send_xid("GPU-1", 62)
    async with asyncio.timeout(30):
        while not world.is_dead:
            await asyncio.sleep(0.1)
    world.store.after = world._check_leases
    await world.restart()
    job = await world.finish(job_id, 60)
    assert (job.outcome, code_of(job)) == (Outcome.FAILED, "gpu_fault")
    await world.crash()


async def test_a_programs_own_xid_is_its_reason_if_it_fails_and_nothing_if_it_does_not() -> None:
    world = host(ONE, TWO, program=Program(seconds=5, code=1))
    await world.start()
    fails = await running(world)
    world.gpus.send_xid("GPU-1", 31)
    assert code_of(await world.finish(fails)) == "gpu_fault_application"
    assert state_of(world, "GPU-1") is GpuState.OK
    world.engine.program = Program(seconds=5, code=0)
    succeeds = await running(world)
    world.gpus.send_xid("GPU-1", 31)
    assert (await world.finish(succeeds)).outcome is Outcome.SUCCEEDED
    await world.crash()


@pytest.mark.parametrize(("xid", "code"), [(31, "gpu_fault_application"), (62, "gpu_fault")])
async def test_a_job_that_dies_of_its_xid_before_anybody_looks_is_told_why_and_nobody_else_pays(
    xid: int, code: str
) -> None:
    world = host(ONE, TWO, program=Program(seconds=10, code=1))
    await world.start()
    first = await running(world)
    leased = (await world.job(first)).lease
    assert leased is not None
    world.engine.program = Program(seconds=30)
    world.gpus.look_seconds = 20.0
    await asyncio.sleep(6)  # a look is under way, and the next one is far
    world.gpus.send_xid(leased.gpus[0], xid)
    assert code_of(await world.finish(first, 15)) == code
    others = [await world.submit(gpus=1) for _ in range(2)]
    world.gpus.look_seconds = 0.0
    done = await world.finish(others[0])
    assert done.outcome is Outcome.SUCCEEDED
    if xid == 62:
        assert state_of(world, leased.gpus[0]) is GpuState.QUARANTINED
    await world.crash()


@pytest.mark.parametrize("step", ["create", "start"])
async def test_a_gpu_that_was_taken_out_since_its_lease_is_not_started_on(step: str) -> None:
    world = host(ONE, TWO, program=Program(seconds=3))
    is_away = True

    def choose(name: str, _target: str) -> Fate:
        return Fate.NEVER if is_away and name == step else Fate.WORKS

    world.engine.fates = choose
    await world.start()
    job_id = await world.submit(gpus=1)
    held = (await world.until(job_id, lambda job: job.lease is not None, 30)).lease
    assert held is not None
    await asyncio.sleep(5)
    assert await care_of(world).request(held.gpus[0], Request(Asked.QUARANTINE, "it smells")) is None
    is_away = False
    job = await world.finish(job_id)
    assert job.outcome is Outcome.SUCCEEDED
    events = await world.store.events(ME, 0, job_id, 1000)
    chosen = [event.data["gpus"] for event in events if event.type == "job.gpus_chosen"]
    assert chosen == [list(held.gpus), [({"GPU-1", "GPU-2"} - set(held.gpus)).pop()]]
    assert world.engine.started_twice == []
    await world.crash()


async def test_a_gpu_that_falls_off_the_bus_loses_its_job_and_no_other() -> None:
    world = host(ONE, TWO, program=Program(seconds=30))
    await world.start()
    lost, other = await running(world), await running(world)
    world.gpus.send_xid("GPU-1", 79)
    world.gpus.absent["GPU-1"] = Absence.GONE
    job = await world.finish(lost, 25)
    assert (job.outcome, code_of(job)) == (Outcome.LOST, "gpu_lost")
    assert (await world.finish(other)).outcome is Outcome.SUCCEEDED
    assert state_of(world, "GPU-1") is GpuState.MISSING
    assert [gpu.uuid for gpu in care_of(world).inventory.gpus] == ["GPU-1", "GPU-2"]
    await world.crash()


async def test_a_job_keeps_its_gpu_until_that_is_clean_and_then_it_is_given_on() -> None:
    world = host(ONE, program=Program(seconds=3))
    await world.start()
    first = await running(world)
    second = await world.submit(gpus=1)
    world.gpus.dirty.add("GPU-1")
    await asyncio.sleep(15)
    assert (await world.job(first)).phase is Phase.STOPPING
    assert (await world.job(second)).phase is Phase.QUEUED
    world.gpus.dirty.clear()
    assert (await world.finish(second, 10)).outcome is Outcome.SUCCEEDED
    await world.crash()


@pytest.mark.slow
async def test_a_gpu_that_is_not_clean_in_time_is_kept_from_the_next_job_by_the_write_before_the_lease_ends() -> (
    None
):
    world = host(ONE, program=Program(seconds=3))
    await world.start()
    first = await running(world)
    world.gpus.dirty.add("GPU-1")
    was_kept_at_the_free: list[bool] = []

    async def look_at_the_free(_step: str) -> None:
        job = world.store.peek(first)
        if job is not None and job.lease is None and not was_kept_at_the_free:
            was_kept_at_the_free.append("gpu_not_clean" in world.store._gpu_healths["GPU-1"])

    world.store.after = look_at_the_free
    assert (await world.finish(first)).outcome is Outcome.SUCCEEDED
    assert was_kept_at_the_free == [True]
    second = await world.submit(gpus=1)
    world.gpus.dirty.clear()
    await world.quiesce(PROBATION / 2)
    assert (await world.job(second)).phase is Phase.QUEUED
    assert (await world.finish(second, PROBATION)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_death_while_a_gpu_is_awaited_clean_gives_it_to_nobody() -> None:
    world = host(ONE, program=Program(seconds=3))
    await world.start()
    first = await running(world)
    world.gpus.dirty.add("GPU-1")
    await asyncio.sleep(10)
    second = await world.submit(gpus=1)
    await world.restart()
    await asyncio.sleep(5)
    assert (await world.job(first)).lease is not None
    assert (await world.job(second)).phase is Phase.QUEUED
    world.gpus.dirty.clear()
    for one in (first, second):
        assert (await world.finish(one, 60)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_gpu_with_a_strangers_process_is_leased_once_that_is_gone() -> None:
    world = host(ONE)
    world.gpus.dirty.add("GPU-1")
    await world.start()
    job_id = await world.submit(gpus=1)
    await asyncio.sleep(60)
    assert (await world.job(job_id)).phase is Phase.QUEUED
    assert care_of(world).healths["GPU-1"].reason == "gpu_busy_foreign"
    world.gpus.dirty.clear()
    assert (await world.finish(job_id, 30)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_the_jobs_own_process_is_no_strangers() -> None:
    world = host(ONE, program=Program(seconds=60))
    await world.start()
    job_id = await running(world)
    world.gpus.dirty.add("GPU-1")  # as any GPU at work
    await asyncio.sleep(30)
    assert state_of(world, "GPU-1") is GpuState.OK
    world.gpus.dirty.clear()
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_memory_errors_while_idle_keep_a_gpu_from_all_until_they_stay_away() -> None:
    world = host(ONE)
    world.gpus.says["GPU-1"] = Facts(ecc_uncorrected=3)
    await world.start()
    await asyncio.sleep(20)
    assert state_of(world, "GPU-1") is GpuState.OK  # they were there before us
    world.gpus.says["GPU-1"] = Facts(ecc_uncorrected=4)
    await asyncio.sleep(IDLE_LOOK_SECONDS + 1)
    assert state_of(world, "GPU-1") is GpuState.QUARANTINED
    job_id = await world.submit(gpus=1)
    await world.quiesce(PROBATION / 2)
    assert (await world.job(job_id)).phase is Phase.QUEUED
    assert (await world.finish(job_id, PROBATION)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_gpu_that_is_leased_between_two_looks_is_looked_at_soon() -> None:
    world = host(ONE, program=Program(seconds=60))
    world.gpus.says["GPU-1"] = Facts(ecc_uncorrected=0)
    await world.start()
    await asyncio.sleep(5)
    await running(world)
    world.gpus.says["GPU-1"] = Facts(ecc_uncorrected=1)
    await asyncio.sleep(LOOK_SECONDS + 1)
    assert state_of(world, "GPU-1") is GpuState.QUARANTINED
    await world.crash()


async def test_a_gpu_that_its_job_left_unclean_is_back_a_probation_later_and_not_a_minute_more() -> None:
    world = host(ONE, program=Program(seconds=3))
    await world.start()
    first = await running(world)
    world.gpus.dirty.add("GPU-1")
    await world.until_phase(first, Phase.FINISHED, 60)
    world.gpus.dirty.clear()
    assert state_of(world, "GPU-1") is GpuState.SUSPECT
    await asyncio.sleep(PROBATION + 3 * LOOK_SECONDS)
    assert state_of(world, "GPU-1") is GpuState.OK
    await world.crash()


async def test_an_operators_word_holds_a_gpu_through_a_restart_until_he_takes_it_back() -> None:
    world = host(ONE)
    await world.start()
    await asyncio.sleep(1)
    assert await care_of(world).request("GPU-1", Request(Asked.QUARANTINE, "a fan rattles")) is None
    await world.restart()
    job_id = await world.submit(gpus=1)
    await world.quiesce(2 * PROBATION)
    assert (await world.job(job_id)).phase is Phase.QUEUED
    assert care_of(world).healths["GPU-1"].words == "a fan rattles"
    assert await care_of(world).request("GPU-1", Request(Asked.RESTORE)) is None
    assert (await world.finish(job_id, 60)).outcome is Outcome.SUCCEEDED
    with pytest.raises(KeyError):
        await care_of(world).request("GPU-9", Request(Asked.QUARANTINE))
    await world.crash()


async def test_a_storm_of_xids_costs_no_more_than_a_few_looks() -> None:
    world = host(ONE, program=Program(seconds=20))
    await world.start()
    job_id = await running(world)
    before = world.gpus.looks
    for _ in range(100):
        for _ in range(100):
            world.gpus.send_xid("GPU-1", 31)
        await asyncio.sleep(0.01)
    assert world.gpus.looks - before < 10
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_gpus_that_the_config_does_not_name_are_never_leased() -> None:
    world = host(ONE, TWO, program=Program(seconds=3))
    world.settings.gpu_care = type(world.settings.gpu_care)(
        world.settings.gpu_care.policy, ("GPU-2",), world.settings.gpu_care.clean_seconds
    )
    await world.start()
    for _ in range(2):
        job_id = await running(world)
        lease = (await world.job(job_id)).lease
        assert lease is not None
        assert lease.gpus == ("GPU-2",)
        await world.finish(job_id)
    assert [gpu.uuid for gpu in (await care_of(world).usable()).gpus] == ["GPU-2"]
    await world.crash()
