"""The disk guard where inodes are scarce: who uses them up is ended while there are some, and nobody else is."""

import asyncio

import pytest

from agent.core.disk_guard import LINE_BYTES
from agent.core.disk_space import INODE_BYTES
from agent.jobs.disk_guard_probe import disk_guard_probe
from agent.jobs.health import CheckState
from tests.fakes.engine import Program
from tests.shell import full_disk
from tests.shell.full_disk import TICK, guard, leave_inodes, make, run
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime

LINE_FILES = LINE_BYTES // INODE_BYTES


@pytest.fixture
async def world() -> World:
    return full_disk.world()


@pytest.mark.slow
@pytest.mark.parametrize("to_layer", [False, True])
@pytest.mark.parametrize("files_a_second", [1_000, 20_000, 130_000])
@pytest.mark.parametrize("made_long_ago", [0, 1_000_000])
async def test_who_uses_up_the_inodes_is_ended_before_they_are_gone_and_the_quiet_one_lives_on(
    world: World, files_a_second: float, made_long_ago: int, *, to_layer: bool
) -> None:
    """However many of its files a walk can see; and the quiet one has more than it can see, too, and a log."""
    await world.start()
    quiet, maker = await run(world), await run(world)
    leave_inodes(world, 262_144 + 70_000 + made_long_ago)
    world.folders.disk.entries = {quiet: 70_000, maker: made_long_ago}
    async with asyncio.TaskGroup() as group:
        logging = group.create_task(make(world, quiet, 1 / TICK, 600))
        await make(world, maker, files_a_second, 600, to_layer=to_layer)
        job = await world.finish(maker)
        logging.cancel()
    assert (job.outcome, job.reason.code if job.reason else None) == (Outcome.FAILED, "disk_guard")
    assert world.folders.disk.refused == 0
    assert 0 < world.folders.disk.least_free_files < LINE_FILES
    await world.quiesce(60)
    assert (await world.job(quiet)).phase is Phase.RUNNING
    await world.assert_all_is_well()
    await world.crash()


async def test_who_makes_files_is_told_so_and_the_check_tells_the_operator(world: World) -> None:
    await world.start()
    maker = await run(world)
    leave_inodes(world, 150_000)
    probe = disk_guard_probe(guard(world).view)
    await world.quiesce(10)
    assert "150,000 inodes" in (await probe()).evidence
    assert (await probe()).state is CheckState.OK
    await make(world, maker, 20_000)
    job = await world.finish(maker)
    assert job.reason is not None
    assert "files in its output folder" in job.reason.message
    await world.quiesce(10)
    assert (await probe()).state is CheckState.WARN
    assert "inodes" in (await probe()).remedy
    world.folders.disk.remove(maker)
    await world.quiesce(10)
    assert (await probe()).state is CheckState.OK
    await world.crash()


async def test_where_counting_takes_long_a_bomb_that_heeds_no_signal_has_no_grace_beyond_that(
    world: World,
) -> None:
    world.engine.program = Program(seconds=None, on_term=None)
    world.folders.count_seconds = 0.3
    await world.start()
    bomb = await run(world, grace=600)
    leave_inodes(world, 210_000)
    await make(world, bomb, 75_000)
    assert (await world.finish(bomb, seconds=60)).reason is not None
    assert world.folders.disk.refused == 0
    await world.crash()


async def test_what_the_host_makes_of_files_ends_no_job_also_none_with_a_large_tree(world: World) -> None:
    await world.start()
    small, large = await run(world), await run(world)
    leave_inodes(world, 170_000)
    disk = world.folders.disk
    disk.entries = {large: 100_000}
    while (disk.free_files or 0) > 5_000:
        disk.others_files += 3_000
        for job_id in (small, large):
            disk.make(job_id, 1, world.clock.now())
        await asyncio.sleep(0.2)
    await world.quiesce(10)
    for job_id in (small, large):
        assert (await world.job(job_id)).phase is Phase.RUNNING
    await world.crash()
