"""XIDs of the kernel's log on fakes: those from before the daemon's start count, each once, and no job answers for what was before it."""

import asyncio

import pytest

from agent.core.gpu_findings import Asked, GpuState, Request
from agent.core.gpus import Gpu
from agent.interfaces import StoreUnavailableError
from agent.jobs.gpu_probes import kernel_log_probe
from agent.jobs.health import CheckState, Finding
from tests.fakes.engine import Program
from tests.shell.boundaries import DeathOfTheDaemon
from tests.shell.gpu_world import ONE, PCI, PROBATION, TWO, care_of, host, running, state_of
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime


async def restore(world: World) -> None:
    assert await care_of(world).request("GPU-1", Request(Asked.RESTORE)) is None
    assert state_of(world) is GpuState.OK


async def test_an_xid_from_before_the_first_start_keeps_its_gpu_from_all_and_no_other() -> None:
    world = host(ONE, TWO)
    await asyncio.sleep(100)
    world.kernel_log.write(PCI[0], 62, at=5.0)
    await world.start()
    jobs = [await world.submit(gpus=1) for _ in range(2)]
    for job_id in jobs:
        assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
        events = await world.store.attempts(job_id)
        assert [attempt.lease.gpus for attempt in events if attempt.lease] == [("GPU-2",)]
    assert state_of(world) is GpuState.QUARANTINED
    assert "XID 62" in care_of(world).healths["GPU-1"].words
    await world.crash()


async def test_a_programs_xid_from_before_the_start_is_nobodys() -> None:
    world = host(ONE, program=Program(seconds=3, code=1))
    world.kernel_log.write(PCI[0], 31)
    await asyncio.sleep(100)
    await world.start()
    job = await world.finish(await world.submit(gpus=1))
    assert state_of(world) is GpuState.OK
    assert job.reason is not None
    assert job.reason.code == "exit_nonzero"
    await world.crash()


@pytest.mark.parametrize("xid", [31, 48, 62, 79])
async def test_an_xid_from_before_the_job_never_blames_stops_or_loses_it(xid: int) -> None:
    world = host(ONE, program=Program(seconds=30, code=1))
    await asyncio.sleep(100)
    world.kernel_log.unreadable = "/dev/kmsg: Operation not permitted"
    world.kernel_log.write(PCI[0], xid, at=5.0)
    await world.start()
    job_id = await running(world)
    await world.crash()
    world.kernel_log.unreadable = None  # the operator did what the doctor said
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.FAILED, "exit_nonzero")
    expected = {31: GpuState.OK, 79: GpuState.MISSING}
    assert state_of(world) is expected.get(xid, GpuState.QUARANTINED)
    await world.crash()


@pytest.mark.parametrize(
    ("xid", "outcome", "code"),
    [(31, "failed", "gpu_fault_application"), (62, "failed", "gpu_fault"), (79, "lost", "gpu_lost")],
)
async def test_an_xid_that_came_while_the_daemon_was_away_is_its_jobs(
    xid: int, outcome: str, code: str
) -> None:
    world = host(ONE, program=Program(seconds=60, code=1))
    await world.start()
    job_id = await running(world)
    await asyncio.sleep(5)
    await world.crash()
    world.kernel_log.write(PCI[0], xid)
    await asyncio.sleep(20)
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (outcome, code)
    await world.crash()


async def test_without_events_of_the_driver_the_log_has_to_do() -> None:
    world = host(ONE, program=Program())
    await world.start()
    job_id = await running(world)
    world.kernel_log.write(PCI[0], 62)
    job = await world.finish(job_id, 10)
    assert job.reason is not None
    assert job.reason.code == "gpu_fault"
    await world.crash()


async def test_no_restart_judges_a_record_twice() -> None:
    world = host(ONE)
    world.kernel_log.write(PCI[0], 48)
    await world.start()
    await asyncio.sleep(PROBATION + 60)
    assert state_of(world) is GpuState.OK
    await world.restart()
    await asyncio.sleep(60)
    assert state_of(world) is GpuState.OK
    assert len(care_of(world).healths["GPU-1"].history) == 2
    await world.crash()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_around_the_write_of_a_verdict_judges_once_and_never_not_at_all(when: str) -> None:
    world = host(ONE)
    world.kernel_log.write(PCI[0], 48)

    async def die(step: str) -> None:
        if step == "keep_gpu_healths":
            raise DeathOfTheDaemon

    check = world.store.after
    if when == "before":
        world.store.before = die
    else:
        world.store.after = die
    await world.start()
    async with asyncio.timeout(30):
        while not world.is_dead:
            await asyncio.sleep(0.1)
    world.store.before, world.store.after = no_death, check
    await world.restart()
    await asyncio.sleep(10)
    assert state_of(world) is GpuState.QUARANTINED
    assert [change.to for change in care_of(world).healths["GPU-1"].history] == [GpuState.QUARANTINED]
    await world.crash()


async def no_death(_step: str) -> None: ...


async def test_a_verdict_that_can_not_be_kept_is_judged_again_without_a_restart() -> None:
    world = host(ONE)
    is_full = True

    async def refuse(step: str) -> None:
        if step == "keep_gpu_healths" and is_full:
            raise StoreUnavailableError("no space is left")

    world.store.before = refuse
    world.kernel_log.write(PCI[0], 48)
    await world.start()
    await asyncio.sleep(10)
    assert "GPU-1" not in care_of(world).healths
    is_full = False
    await asyncio.sleep(5)
    assert state_of(world) is GpuState.QUARANTINED
    await world.crash()


@pytest.mark.parametrize("first", ["driver", "log"])
async def test_what_comes_by_both_ways_does_not_undo_a_restore_between_them(first: str) -> None:
    world = host(ONE)
    await world.start()
    await asyncio.sleep(20)
    ways = {
        "driver": lambda: world.gpus.send_xid("GPU-1", 48),
        "log": lambda: world.kernel_log.write(PCI[0], 48),
    }
    ways.pop(first)()
    await asyncio.sleep(1)
    assert state_of(world) is GpuState.QUARANTINED
    await restore(world)
    (second,) = ways.values()
    second()
    await asyncio.sleep(10)
    assert state_of(world) is GpuState.OK
    await world.restart()
    await asyncio.sleep(10)
    assert state_of(world) is GpuState.OK
    world.kernel_log.write(PCI[0], 48)  # another one
    await asyncio.sleep(1)
    assert state_of(world) is GpuState.QUARANTINED
    await world.crash()


async def test_a_log_that_becomes_readable_does_not_undo_a_restore_and_the_next_xid_counts() -> None:
    world = host(ONE)
    world.kernel_log.unreadable = "/dev/kmsg: Operation not permitted"
    await world.start()
    await asyncio.sleep(20)
    world.gpus.send_xid("GPU-1", 48)
    world.kernel_log.write(PCI[0], 48)
    await asyncio.sleep(1)
    await restore(world)
    world.kernel_log.unreadable = None
    await world.restart()
    await asyncio.sleep(60)
    assert state_of(world) is GpuState.OK
    world.kernel_log.write(PCI[0], 48)
    await asyncio.sleep(1)
    assert state_of(world) is GpuState.QUARANTINED
    await world.crash()


async def test_a_boot_forgets_how_far_the_log_of_the_last_one_was_read() -> None:
    world = host(ONE)
    for _ in range(5):
        world.kernel_log.write(PCI[0], 48)
    await world.start()
    await asyncio.sleep(PROBATION + 60)
    assert state_of(world) is GpuState.OK
    await world.crash()
    world.clock.boot_id = "boot-2"
    world.kernel_log.reboot()
    world.kernel_log.write(PCI[0], 48)
    await world.start()
    await asyncio.sleep(10)
    assert state_of(world) is GpuState.QUARANTINED
    await world.crash()


async def test_an_xid_in_mig_mode_keeps_all_instances_of_its_gpu_and_no_other() -> None:
    slices = tuple(Gpu(f"MIG-{n}", "NVIDIA A100", 10 << 30, pci=PCI[0], mig="1g.10gb") for n in (1, 2))
    world = host(*slices, TWO)
    world.kernel_log.write(PCI[0], 62)
    await world.start()
    await asyncio.sleep(5)
    assert [state_of(world, uuid) for uuid in ("MIG-1", "MIG-2", "GPU-2")] == [
        GpuState.QUARANTINED,
        GpuState.QUARANTINED,
        GpuState.OK,
    ]
    await world.crash()


async def test_a_gpu_that_is_found_after_its_xid_was_read_is_kept_all_the_same() -> None:
    world = host()
    world.kernel_log.write(PCI[0], 62)
    await world.start()
    await asyncio.sleep(100)
    world.gpus.gpus = (ONE,)
    job_id = await world.submit(gpus=1)
    await asyncio.sleep(700)
    assert state_of(world) is GpuState.QUARANTINED
    assert (await world.job(job_id)).phase is not Phase.RUNNING
    await world.crash()


async def test_a_storm_in_the_log_costs_no_more_than_a_few_looks() -> None:
    world = host(ONE, program=Program(seconds=20))
    await world.start()
    job_id = await running(world)
    before = world.gpus.looks
    for _ in range(100):
        for _ in range(100):
            world.kernel_log.write(PCI[0], 31)
            world.kernel_log.write("00000000:01:00.0", 31)  # of no GPU
        await asyncio.sleep(0.01)
    assert world.gpus.looks - before < 10
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_health_says_why_the_log_is_not_read_and_what_to_do_where_there_are_gpus() -> None:
    world = host(ONE)
    has_gpus = False
    probe = kernel_log_probe(world.kernel_log.condition, lambda: has_gpus)
    world.kernel_log.unreadable = "/dev/kmsg: Operation not permitted"
    assert await probe() == Finding(CheckState.OK, "no NVIDIA GPU on this host")
    has_gpus = True
    found = await probe()
    assert found.state is CheckState.WARN
    assert "/dev/kmsg: Operation not permitted" in found.evidence
    assert "CAP_SYSLOG" in found.remedy
    world.kernel_log.unreadable = None
    assert await probe() == Finding(CheckState.OK, "XIDs are read from it")
