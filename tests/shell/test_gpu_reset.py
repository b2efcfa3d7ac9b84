"""An operator's reset on fakes: one at a time, never under a lease, ended once whatever happens to the daemon, and told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from agent.core.gpu_findings import Absence, Asked, GpuReason, GpuState, Need, Request
from agent.core.gpu_health import Refusal
from agent.core.gpu_record import dump_health, load_health
from agent.core.gpus import Gpu
from agent.core.job import Job, Kind
from agent.core.lease import Lease
from agent.interfaces import NewJob, StoreUnavailableError
from agent.jobs.gpu_care import LOOK_SECONDS
from agent.spec import parse_spec
from tests.fakes.engine import Program
from tests.shell.boundaries import DeathOfTheDaemon
from tests.shell.gpu_world import ONE, PROBATION, TWO, care_of, host, state_of
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime
INSTANCE = Gpu("MIG-1", "NVIDIA A100", 10 << 30, pci="03", mig="1g.10gb")
ID = "00000000-0000-7000-8000-00000000abcd"
RESETTING, QUARANTINED = GpuState.RESETTING, GpuState.QUARANTINED


async def started(*gpus: Gpu, program: Program | None = None) -> World:
    world = host(*gpus, program=program)
    world.gpus.reset_seconds = 20.0
    await world.start()
    await asyncio.sleep(1)
    return world


async def order(world: World, uuid: str = "GPU-1") -> Refusal | None:
    return await care_of(world).request(uuid, Request(Asked.RESET))


def kept_state(world: World, uuid: str = "GPU-1") -> GpuState:
    return load_health(uuid, world.store._gpu_healths[uuid]).health.state


async def until_ended(world: World, uuid: str = "GPU-1", seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while uuid not in care_of(world).healths or state_of(world, uuid) is RESETTING:
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_gpu_that_is_reset_goes_to_nobody_until_its_probation_is_over() -> None:
    world = await started(ONE)
    world.gpus.send_xid("GPU-1", 62)
    await asyncio.sleep(1)
    assert await order(world) is None
    assert kept_state(world) is RESETTING
    job_id = await world.submit(gpus=1)
    await asyncio.sleep(1)
    assert world.gpus.under_reset == {"GPU-1"}
    await until_ended(world, seconds=20)  # at once
    health = care_of(world).healths["GPU-1"]
    assert (health.state, health.needs) == (QUARANTINED, {Need.PROBATION})
    await world.quiesce(PROBATION / 2)
    assert (await world.job(job_id)).phase is Phase.QUEUED
    assert (await world.finish(job_id, PROBATION)).outcome is Outcome.SUCCEEDED
    assert world.gpus.resets == ["GPU-1"]
    await world.crash()


async def test_a_reset_that_failed_keeps_the_gpu_quarantined_with_the_reason_and_another_may_be_asked_for() -> (
    None
):
    world = await started(ONE)
    world.gpus.reset_failures["GPU-1"] = "in use by another client"
    assert await order(world) is None
    await until_ended(world)
    health = care_of(world).healths["GPU-1"]
    assert (health.state, health.reason) == (QUARANTINED, GpuReason.RESET_FAILED)
    assert "in use by another client" in health.words
    await world.quiesce(2 * PROBATION)
    assert state_of(world) is QUARANTINED
    world.gpus.reset_failures.clear()
    assert await order(world) is None
    await until_ended(world)
    assert care_of(world).healths["GPU-1"].needs == {Need.PROBATION}
    assert world.gpus.resets == ["GPU-1"] * 2
    await world.crash()


async def test_a_gpu_that_does_not_come_back_is_missing() -> None:
    world = await started(ONE)
    assert await order(world) is None
    await asyncio.sleep(1)
    world.gpus.absent["GPU-1"] = Absence.GONE
    await until_ended(world)
    assert state_of(world) is GpuState.MISSING
    await world.crash()


async def test_resets_are_one_at_a_time_and_other_gpus_work_meanwhile() -> None:
    three = Gpu("GPU-3", "NVIDIA H100", 80 << 30, pci="04")
    world = await started(ONE, TWO, three)
    assert await order(world, "GPU-2") is None
    assert await order(world, "GPU-1") is None
    job_id = await world.submit(gpus=1)
    await asyncio.sleep(1)
    assert len(world.gpus.under_reset) == 1
    assert (state_of(world, "GPU-1"), state_of(world, "GPU-2")) == (RESETTING, RESETTING)
    assert (await world.finish(job_id, 19)).outcome is Outcome.SUCCEEDED
    await until_ended(world, "GPU-1")
    await until_ended(world, "GPU-2")
    assert sorted(world.gpus.resets) == ["GPU-1", "GPU-2"]
    await world.crash()


async def test_two_orders_are_one_reset() -> None:
    world = await started(ONE)
    assert await order(world) is None
    await asyncio.sleep(5)
    world.gpus.gate_seconds = 30.0  # nobody can look at a GPU while one is reset
    async with asyncio.timeout(1):
        assert await order(world) is None
    await until_ended(world)
    await asyncio.sleep(60)
    assert world.gpus.resets == ["GPU-1"]
    await world.crash()


async def test_what_would_hurt_or_not_help_is_refused_and_changes_nothing() -> None:
    world = await started(ONE, TWO, INSTANCE, program=Program(seconds=60))
    job_id = await world.submit(gpus=2)
    await world.until_phase(job_id, Phase.RUNNING)
    refused = await order(world)
    assert refused is not None
    assert refused.code == "gpu_leased"
    await world.finish(job_id)
    world.gpus.dirty.add("GPU-1")
    world.gpus.absent["GPU-2"] = Absence.GONE
    await asyncio.sleep(61)
    for uuid, code in (
        ("GPU-1", "gpu_busy_foreign"),
        ("GPU-2", "gpu_not_here"),
        ("MIG-1", "gpu_is_instance"),
    ):
        refused = await order(world, uuid)
        assert refused is not None
        assert refused.code == code
    assert refused is not None
    assert "PCI 03" in refused.words
    await asyncio.sleep(60)
    assert world.gpus.resets == []
    await world.crash()


def at(step: str, act: Callable[[], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    async def act_at(name: str) -> None:
        if name == step:
            await act()

    return act_at


async def die() -> None:
    raise DeathOfTheDaemon


async def order_and_die(world: World) -> None:
    """By the write of the order."""
    world.store.after = at("keep_gpu_healths", die)
    with pytest.raises(DeathOfTheDaemon):
        await order(world)
    await world.crash()
    world.store.after = world._check_leases
    assert kept_state(world) is RESETTING
    assert world.gpus.resets == []


async def until_dead(world: World) -> None:
    async with asyncio.timeout(60):
        while not world.is_dead:
            await asyncio.sleep(0.1)


async def test_a_death_right_after_the_order_leaves_it_to_the_next_daemon() -> None:
    world = await started(ONE)
    await order_and_die(world)
    job_id = await world.submit(gpus=1)
    await world.start()
    await until_ended(world)
    assert world.gpus.resets == ["GPU-1"]
    assert care_of(world).healths["GPU-1"].needs == {Need.PROBATION}
    assert (await world.job(job_id)).phase is Phase.QUEUED
    await world.crash()


async def test_a_death_in_the_middle_of_a_reset_is_followed_by_another() -> None:
    world = await started(ONE)
    assert await order(world) is None
    await asyncio.sleep(10)
    assert world.gpus.under_reset == {"GPU-1"}
    job_id = await world.submit(gpus=1)
    await world.restart()
    await until_ended(world)
    assert world.gpus.resets == ["GPU-1"] * 2
    assert (await world.job(job_id)).phase is Phase.QUEUED
    await world.crash()


@pytest.mark.parametrize("failure", [None, "in use"])
async def test_a_death_before_the_end_was_written_resets_again(failure: str | None) -> None:
    world = await started(ONE)
    if failure is not None:
        world.gpus.reset_failures["GPU-1"] = failure
    assert await order(world) is None
    await asyncio.sleep(10)
    world.store.before = at("keep_gpu_healths", die)
    await until_dead(world)
    world.store.before = at("", die)
    assert kept_state(world) is RESETTING
    await world.restart()
    await until_ended(world)
    assert world.gpus.resets == ["GPU-1"] * 2
    assert kept_state(world) is QUARANTINED
    await world.crash()


async def test_a_death_after_the_end_was_written_resets_no_more() -> None:
    world = await started(ONE)
    assert await order(world) is None
    await asyncio.sleep(10)
    world.store.after = at("keep_gpu_healths", die)
    await until_dead(world)
    world.store.after = world._check_leases
    await world.restart()
    await asyncio.sleep(60)
    assert world.gpus.resets == ["GPU-1"]
    assert care_of(world).healths["GPU-1"].needs == {Need.PROBATION}
    await world.crash()


async def test_an_end_that_can_not_be_written_is_told_later_and_not_by_another_reset() -> None:
    world = await started(ONE)
    assert await order(world) is None
    await asyncio.sleep(10)
    world.store.before = at("keep_gpu_healths", be_full)
    await asyncio.sleep(60)
    assert state_of(world) is RESETTING
    world.store.before = at("", die)
    await until_ended(world)
    assert world.gpus.resets == ["GPU-1"]
    await world.crash()


async def be_full() -> None:
    raise StoreUnavailableError("no space left")


async def test_a_reboot_is_a_reset() -> None:
    world = await started(ONE)
    await order_and_die(world)
    world.clock.boot_id = "boot-2"
    await world.start()
    await asyncio.sleep(60)
    assert world.gpus.resets == []
    assert care_of(world).healths["GPU-1"].needs == {Need.PROBATION}
    await world.crash()


async def test_who_gets_the_gpu_while_it_is_looked_at_for_the_order_keeps_it() -> None:
    world = await started(ONE)
    world.gpus.gate_seconds = 2.0
    ordering = asyncio.ensure_future(order(world))
    await asyncio.sleep(0.5)
    job_id = await world.submit(gpus=1)
    refused = await ordering
    assert refused is not None
    assert refused.code == "gpu_leased"
    assert (await world.finish(job_id, 60)).outcome is Outcome.SUCCEEDED
    assert world.gpus.resets == []
    await world.crash()


async def test_who_gets_the_gpu_in_the_moment_of_the_order_moves_to_another_before_it_is_reset() -> None:
    world = await started(ONE, TWO)
    granted: list[str] = []

    async def grant() -> None:
        if not granted:
            granted.append(await world.submit(gpus=1))
            lease = (await world.until(granted[0], lambda job: job.lease is not None, 30)).lease
            assert lease is not None
            assert lease.gpus == ("GPU-1",)

    world.store.before = at("keep_gpu_healths", grant)
    assert await order(world) is None
    assert (await world.finish(granted[0], 19)).outcome is Outcome.SUCCEEDED
    await until_ended(world)
    assert world.gpus.resets == ["GPU-1"]
    await world.crash()


async def test_a_lease_that_is_as_old_as_the_order_is_waited_for() -> None:
    world = await started(ONE, TWO)
    held: list[Job] = []

    async def lease() -> None:
        """Of a job whose own task does not know of it."""
        if not held:
            spec = parse_spec({"image": "busybox", "gpus": 1})
            accepted = await world.store.accept(NewJob(ID, "alice", Kind.CONTAINER, spec, 0.0, None, ID), 10)
            leased = replace(accepted.job, phase=Phase.RUNNING, lease=Lease(("GPU-1",), ()))
            held.append(await world.store.save(leased))

    world.store.before = at("keep_gpu_healths", lease)
    assert await order(world) is None
    await asyncio.sleep(60)
    assert world.gpus.resets == []
    await world.store.save(replace(held[0], lease=None))
    await asyncio.sleep(LOOK_SECONDS + 1)
    assert world.gpus.resets == ["GPU-1"]
    await world.crash()


async def test_a_stranger_who_came_after_the_order_is_not_robbed_of_the_gpu() -> None:
    world = await started(ONE)
    await order_and_die(world)
    world.gpus.dirty.add("GPU-1")
    await world.start()
    await until_ended(world)
    health = care_of(world).healths["GPU-1"]
    assert health.reason is GpuReason.RESET_FAILED
    assert "process 4711" in health.words
    assert world.gpus.resets == []
    await world.crash()


async def test_an_instance_that_a_damaged_record_says_is_to_be_reset_is_not() -> None:
    world = await started(INSTANCE)
    await kept_by_hand(world, "MIG-1")
    await until_ended(world, "MIG-1")
    assert care_of(world).healths["MIG-1"].reason is GpuReason.RESET_FAILED
    assert world.gpus.resets == []
    await world.crash()


async def kept_by_hand(world: World, uuid: str = "GPU-1") -> None:
    """As a daemon would have it that died after the order."""
    await world.crash()
    health = load_health(uuid, world.store._gpu_healths[uuid]).health
    ordered = replace(health, state=RESETTING, needs=frozenset({Need.PROBATION}))
    await world.store.keep_gpu_healths({uuid: dump_health(ordered)})
    await world.start()


async def test_an_xid_of_before_the_reset_is_mended_by_it_and_one_of_after_it_is_not() -> None:
    world = await started(ONE)
    assert await order(world) is None
    world.gpus.send_xid("GPU-1", 62)
    await until_ended(world)
    assert care_of(world).healths["GPU-1"].needs == {Need.PROBATION}
    world.gpus.send_xid("GPU-1", 62)
    await asyncio.sleep(LOOK_SECONDS + 1)
    assert Need.RESET in care_of(world).healths["GPU-1"].needs
    await world.crash()


async def test_what_a_gpu_reports_of_its_own_reset_asks_for_no_other() -> None:
    world = await started(ONE)
    assert await order(world) is None
    await asyncio.sleep(5)
    assert world.gpus.under_reset == {"GPU-1"}
    world.gpus.send_xid("GPU-1", 62)
    await until_ended(world)
    assert care_of(world).healths["GPU-1"].needs == {Need.PROBATION}
    await world.crash()
