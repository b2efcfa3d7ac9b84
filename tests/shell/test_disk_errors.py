"""What the disk says of one job's folder (EIO), or the host of itself (EMFILE), ends neither the daemon nor another job."""

import asyncio
import errno
import os
from dataclasses import replace

import pytest

from agent.core.function import FunctionCall
from tests.fakes.engine import Program
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime

DISK = {"disk": 1 << 30}
CALL = FunctionCall("trainer", "22222222-0000-7000-8000-000000000001", "train", "main.py")


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def break_for(world: World, place: str, name: str, number: int, job_id: str | None = None) -> None:
    """From now on that call fails so, of that job (None: of any)."""
    owner = getattr(world, place)
    works = getattr(owner, name)

    async def fail(*arguments: object) -> object:
        if job_id is None or arguments[:1] == (job_id,):
            raise error(number)
        return await works(*arguments)

    setattr(owner, name, fail)  # one fault of the world, not of our code


@pytest.mark.parametrize("way", ["cancel", "timeout"])
async def test_a_function_that_can_not_be_heard_for_want_of_descriptors_is_stopped_in_its_time(
    way: str,
) -> None:
    world = World()
    world.engine.program = Program(on_term=143)
    await world.start()
    job_id = await world.submit(call=CALL, timeout=60 if way == "timeout" else None)
    await world.until_phase(job_id, Phase.RUNNING)
    await world.crash()
    break_for(world, "sockets", "open", errno.EMFILE)
    await world.start()
    if way == "cancel":
        await world.cancel(job_id)
    await world.until_phase(job_id, Phase.FINISHED, 90)
    await world.crash()


async def test_what_was_to_be_forgotten_while_the_host_had_no_descriptors_is_so_soon_afterwards() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.settings = replace(world.settings, retention_seconds=10)
    await world.start()
    job_id = await world.submit()
    await world.finish(job_id)
    works = world.folders.remove
    break_for(world, "folders", "remove", errno.EMFILE)
    await asyncio.sleep(40)
    world.folders.remove = works  # type: ignore[method-assign] # the shortage is over
    await asyncio.sleep(60)
    assert await world.store.job_ids() == set()
    await world.crash()


async def test_a_folder_that_can_not_be_read_any_more_stops_neither_the_sweep_nor_the_daemon() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.settings = replace(world.settings, retention_seconds=10)
    await world.start()
    damaged, other = await world.submit(), await world.submit()
    break_for(world, "folders", "remove", errno.EIO, damaged)
    await world.finish(other)
    await asyncio.sleep(120)
    assert not world.is_dead
    assert await world.store.job_ids() == {damaged}
    await world.crash()


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
async def test_a_quota_that_can_not_be_released_keeps_neither_the_others_nor_the_daemon(number: int) -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    damaged, other = await world.submit(**DISK), await world.submit(**DISK)
    break_for(world, "quotas", "release", number, damaged)
    await world.finish(damaged)
    await world.finish(other)
    await asyncio.sleep(60)
    assert not world.is_dead
    assert world.quotas.images[other].is_released
    assert not world.quotas.images[damaged].is_released
    await world.crash()


@pytest.mark.parametrize("name", ["held", "refill", "rest"])
async def test_a_look_at_the_quotas_that_the_disk_fails_is_made_again(name: str) -> None:
    world = World()
    world.engine.program = Program(seconds=300)
    break_for(world, "quotas", name, errno.EIO)
    await world.start()
    job_id = await world.submit(**DISK)
    await world.until_phase(job_id, Phase.RUNNING)
    await asyncio.sleep(120)
    assert not world.is_dead
    await world.crash()


@pytest.mark.parametrize("name", ["space", "held"])
async def test_a_full_disk_that_can_not_be_measured_is_measured_again(name: str) -> None:
    world = World()
    world.engine.program = Program(seconds=300)
    await world.start()
    await world.until_phase(await world.submit(), Phase.RUNNING)
    world.folders.disk.write("somebody", 1 << 62)
    break_for(world, "folders", name, errno.EMFILE)
    await asyncio.sleep(120)
    assert not world.is_dead
    await world.crash()


@pytest.mark.parametrize("name", ["prepare", "log_part", "secrets"])
async def test_a_host_without_descriptors_makes_a_job_wait_and_not_fail(name: str) -> None:
    world = World()
    world.engine.program = Program(seconds=3)
    await world.start()
    works = getattr(world.folders, name)
    break_for(world, "folders", name, errno.EMFILE)
    job_id = await world.submit(secrets={"KEY": "value"}, secrets_env=["KEY"])
    await asyncio.sleep(30)
    job = await world.job(job_id)
    assert job.phase is not Phase.FINISHED
    assert job.attempt_stop is None
    setattr(world.folders, name, works)
    assert (await world.finish(job_id, seconds=20)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_folder_that_is_damaged_ends_its_own_job_and_no_other() -> None:
    world = World()
    world.engine.program = Program(seconds=3)
    await world.start()
    damaged, other = await world.submit(), await world.submit()
    break_for(world, "folders", "prepare", errno.EIO, damaged)
    job = await world.finish(damaged)
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "internal_error")
    assert (await world.finish(other)).outcome is Outcome.SUCCEEDED
    await world.crash()
