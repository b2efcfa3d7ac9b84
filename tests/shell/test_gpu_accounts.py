"""The account of a job's GPUs on fakes: what is in the row at its end, whatever happens to the daemon; and what watching costs."""

import asyncio

import pytest

from agent.core.gpu_account import load_accounts
from agent.core.gpu_usage import GpuSample, GpuUsage
from agent.core.gpus import Gpu
from agent.core.job import Job
from agent.interfaces import StoreUnavailableError
from agent.jobs.gpu_accounts import KEEP_SECONDS, META_KEY, SAMPLE_SECONDS
from agent.jobs.gpu_samples import GpuSamples
from tests.fakes.clock import FakeClock
from tests.fakes.engine import Program
from tests.fakes.gpus import FakeGpus
from tests.shell.boundaries import Boundaries
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime
GIB = 2**30
ONE, TWO = (Gpu(f"GPU-{n}", "NVIDIA H100", 80 * GIB, pci=f"0{n}") for n in (1, 2))
WATTS, PERCENT = 300.0, 80.0
# From the container's start, or its end, to the sample that belongs to it.
NEAR = 0.2


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def busy(_uuid: str) -> GpuSample:
    return GpuSample(PERCENT, 10 * GIB, WATTS, 60, frozenset(), 1e6 + WATTS * loop_time())


def host(*gpus: Gpu, seconds: float | None = 60, code: int = 0) -> World:
    world = World()
    world.gpus.gpus, world.gpus.does = gpus, busy
    world.engine.program = Program(seconds=seconds, code=code)
    return world


async def running(world: World, **fields: object) -> str:
    job_id = await world.submit(**{"gpus": 1, **fields})
    await world.until_phase(job_id, Phase.RUNNING, 60)
    return job_id


async def usages(world: World, job_id: str) -> list[GpuUsage | None]:
    return [attempt.gpu_usage for attempt in await world.store.attempts(job_id)]


async def usage_of(world: World, job: Job) -> GpuUsage:
    (usage,) = await usages(world, job.id)
    assert usage is not None
    return usage


async def test_at_its_end_a_job_has_the_figures_of_each_of_its_gpus() -> None:
    world = host(ONE, TWO)
    await world.start()
    job = await world.finish(await running(world, gpus=2))
    usage = await usage_of(world, job)
    assert [use.uuid for use in usage.gpus] == ["GPU-1", "GPU-2"]
    for use in usage.gpus:
        assert use.energy.amount == pytest.approx(WATTS * 60, abs=WATTS * NEAR)
        assert use.energy.seconds == pytest.approx(60, abs=NEAR)
        assert use.busy.mean == pytest.approx(PERCENT / 100)
        assert use.slowed.known == 0
        assert use.peak_bytes == 10 * GIB
    assert usage.peak_bytes == 20 * GIB
    await world.crash()


async def test_a_job_of_two_seconds_has_its_energy_too() -> None:
    world = host(ONE, seconds=2)
    await world.start()
    usage = await usage_of(world, await world.finish(await running(world)))
    assert usage.gpus[0].energy.amount == pytest.approx(WATTS * 2, abs=WATTS * NEAR)
    await world.crash()


async def test_where_no_job_holds_a_gpu_none_is_sampled() -> None:
    world = host(ONE)
    await world.start()
    job_id = await running(world, gpus=0)
    await asyncio.sleep(50)
    assert world.gpus.sampled == []
    assert (await usages(world, (await world.finish(job_id)).id)) == [None]
    done = await world.finish(await running(world))
    sampled = len(world.gpus.sampled)
    await asyncio.sleep(600)
    assert (done.outcome, len(world.gpus.sampled)) == (Outcome.SUCCEEDED, sampled)
    await world.crash()


async def test_all_that_is_leased_is_asked_for_in_one_request_each_five_seconds() -> None:
    world = host(ONE, TWO, seconds=200)
    await world.start()
    for _ in range(2):
        await running(world)
    await asyncio.sleep(10)
    before = len(world.gpus.sampled)
    await asyncio.sleep(20 * SAMPLE_SECONDS)
    asked = world.gpus.sampled[before:]
    assert len(asked) == pytest.approx(20, abs=1)
    assert {frozenset(uuids) for uuids in asked} == {frozenset(("GPU-1", "GPU-2"))}
    await world.crash()


@pytest.mark.slow
async def test_it_is_written_at_its_beginning_and_then_twice_a_minute() -> None:
    world = host(ONE, TWO, seconds=1000)
    steps: list[str] = []

    async def note(step: str) -> None:
        steps.append(step)

    world.store.after = note
    await world.start()
    await running(world)
    await asyncio.sleep(1)
    assert steps.count("set_meta") == 1
    await asyncio.sleep(10)
    await running(world)
    await asyncio.sleep(1)
    assert steps.count("set_meta") == 2
    await asyncio.sleep(10 * KEEP_SECONDS)
    assert steps.count("set_meta") == pytest.approx(2 + 10, abs=1)
    await world.crash()


async def test_a_kill_costs_no_energy_and_of_the_rest_no_more_than_lay_between_two_writes() -> None:
    world = host(ONE, seconds=200)
    world.gpus.does = lambda uuid: GpuSample(
        PERCENT, (70 if loop_time() < 40 else 1) * GIB, WATTS, energy_joules=1e6 + WATTS * loop_time()
    )
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(85)
    await world.crash()
    away = 20.0
    await asyncio.sleep(away)
    await world.start()
    (use,) = (await usage_of(world, await world.finish(job_id))).gpus
    assert use.energy.amount == pytest.approx(WATTS * 200, abs=WATTS * NEAR)
    assert use.energy.seconds == pytest.approx(200, abs=NEAR)
    assert use.peak_bytes == 70 * GIB
    assert use.busy.mean == pytest.approx(PERCENT / 100)
    assert 200 - away - KEEP_SECONDS - 2 * SAMPLE_SECONDS < use.busy.seconds < 200 - away
    await world.crash()


async def test_what_an_idle_gpu_took_after_the_end_while_the_daemon_was_away_is_not_the_jobs() -> None:
    world = host(ONE, seconds=60)
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(45)
    await world.crash()
    await asyncio.sleep(4000)
    await world.start()
    (use,) = (await usage_of(world, await world.finish(job_id))).gpus
    assert 0 < use.energy.amount <= WATTS * 45
    assert use.energy.mean == pytest.approx(WATTS)
    await world.crash()


async def test_each_attempt_has_an_account_of_its_own() -> None:
    world = host(ONE, seconds=20, code=1)
    await world.start()
    job_id = await world.submit(gpus=1, retry={"count": 1, "backoff": 1, "on": ["failed"]})
    await world.finish(job_id)
    found = await usages(world, job_id)
    assert len(found) == 2
    for usage in found:
        assert usage is not None
        assert usage.gpus[0].energy.amount == pytest.approx(WATTS * 20, abs=WATTS * NEAR)
    await world.crash()


async def test_an_answer_to_the_write_that_frees_a_gpu_may_be_lost_and_no_account_stays() -> None:
    world = host(ONE, seconds=20)
    is_lost = False

    async def lose(step: str) -> None:
        nonlocal is_lost
        freed = [job for job in world.store.jobs() if job.run.gpu_usage is not None]
        if step == "save" and freed and not is_lost:
            is_lost = True
            raise StoreUnavailableError("the answer was lost")

    world.store.after = lose
    await world.start()
    usage = await usage_of(world, await world.finish(await running(world)))
    assert is_lost
    assert usage.gpus[0].energy.amount == pytest.approx(WATTS * 20, abs=WATTS * NEAR)
    other = await running(world)
    await asyncio.sleep(1)
    kept = await world.store.meta(META_KEY)
    assert kept is not None
    assert list(load_accounts(kept)) == [(await world.job(other)).container]
    await world.crash()


async def test_a_driver_that_hangs_holds_no_job_up_and_costs_only_what_it_did_not_tell() -> None:
    world = host(ONE, seconds=60)
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(28)
    world.gpus.sample_seconds = 1e6
    job = await world.finish(job_id, 40)
    assert job.outcome is Outcome.SUCCEEDED
    (use,) = (await usage_of(world, job)).gpus
    assert 20 < use.energy.seconds < 30
    await world.crash()


async def test_after_a_reboot_the_account_is_what_was_kept_before_it() -> None:
    world = host(ONE, seconds=None)
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(100)
    await world.crash()
    world.engine.reboot()
    world.clock.boot_id = "boot-2"
    world.gpus.does = lambda _uuid: GpuSample(energy_joules=1e9)
    await world.start()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.LOST
    (use,) = (await usage_of(world, job)).gpus
    assert use.energy.mean == pytest.approx(WATTS)
    assert use.energy.seconds > 100 - KEEP_SECONDS - SAMPLE_SECONDS
    await world.crash()


async def test_an_account_that_was_damaged_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    world = host(ONE, seconds=60)
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(30)
    await world.crash()
    await world.store.set_meta(META_KEY, "[[1]]")
    await world.start()
    job = await world.finish(job_id)
    assert job.outcome is Outcome.SUCCEEDED
    (use,) = (await usage_of(world, job)).gpus
    assert use.energy.amount == pytest.approx(WATTS * 30, abs=WATTS * 2)
    await world.crash()


async def test_a_store_that_is_down_when_it_is_to_be_kept_ends_no_account() -> None:
    world = host(ONE, seconds=100)
    is_down = True

    async def refuse(step: str) -> None:
        await asyncio.sleep(0)
        if step == "set_meta" and is_down:
            raise StoreUnavailableError("full")

    world.store.before = refuse
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(50)
    assert await world.store.meta(META_KEY) is None
    is_down = False
    await asyncio.sleep(SAMPLE_SECONDS + 1)
    assert await world.store.meta(META_KEY) is not None
    usage = await usage_of(world, await world.finish(job_id))
    assert usage.gpus[0].energy.amount == pytest.approx(WATTS * 100, abs=WATTS * NEAR)
    await world.crash()


@pytest.mark.slow
async def test_a_death_at_any_boundary_leaves_each_attempt_with_a_true_account() -> None:
    """Nothing that was not the job's is in it, and where the daemon was back in time nothing is missing."""
    n = 0
    while True:
        n += 1
        world = host(ONE, seconds=20, code=1)
        world.engine.live_restore = False
        boundaries = Boundaries(world)
        job_id = await world.submit(gpus=1, retry={"count": 1, "backoff": 1, "on": ["failed"]})
        boundaries.at[n] = boundaries.die
        await world.start()
        job = await _live_through(world, boundaries, job_id)
        found = await usages(world, job_id)
        assert len(found) == 2, boundaries.passed[n - 1 : n]
        for usage in found:
            assert usage is not None, boundaries.passed[n - 1 : n]
            (use,) = usage.gpus
            assert use.energy.amount == pytest.approx(WATTS * 20, abs=WATTS * 1.0), boundaries.passed[
                n - 1 : n
            ]
        assert job.run.gpu_usage == found[-1]
        await world.crash()
        if boundaries.count < n:
            break
    assert n > 20


async def _live_through(world: World, boundaries: Boundaries, job_id: str) -> Job:
    async with asyncio.timeout(300):
        while True:
            await boundaries.revive()
            job = world.store.peek(job_id)
            assert job is not None
            if job.phase is Phase.FINISHED:
                return job
            await asyncio.sleep(0.05)


def sampler() -> tuple[FakeGpus, GpuSamples]:
    gpus = FakeGpus()
    return gpus, GpuSamples(gpus, FakeClock())


async def look_each_second(samples: GpuSamples, uuids: list[str], looks: int, begin: float) -> None:
    await asyncio.sleep(begin)
    for _ in range(looks):
        reading = await samples.take(uuids)
        assert reading.samples.keys() >= set(uuids)
        await asyncio.sleep(1)


@pytest.mark.parametrize("viewers", [1, 2, 50])
async def test_however_many_look_the_driver_is_asked_once_a_second(viewers: int) -> None:
    gpus, samples = sampler()
    began = loop_time()
    async with asyncio.TaskGroup() as group:
        for number in range(viewers):
            uuids = [f"GPU-{number % 8}"]
            group.create_task(look_each_second(samples, uuids, 20, (number * 0.37) % 1))
    assert len(gpus.sampled) <= loop_time() - began + 1
    assert len(gpus.sampled) >= 19
    # Who looked no more is asked for no more.
    await asyncio.sleep(10)
    await samples.take(["GPU-1"])
    assert gpus.sampled[-1] == ("GPU-1",)


async def test_a_reading_is_never_older_than_a_second() -> None:
    gpus, samples = sampler()
    gpus.does = lambda _uuid: GpuSample(power_watts=loop_time())
    for pause in (0.3, 0.5, 0.9, 1.0, 7.0):
        reading = await samples.take(["GPU-1"])
        sample = reading.samples["GPU-1"]
        assert sample is not None
        assert sample.power_watts is not None
        assert loop_time() - sample.power_watts <= 1.0
        await asyncio.sleep(pause)
