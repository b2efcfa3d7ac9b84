"""The disk guard among running jobs: the writer is ended before the disk is full, and nobody else is."""

import asyncio

import pytest

from agent.core.disk_guard import FLOOR_BYTES, LINE_BYTES
from agent.core.job import StopCause
from agent.interfaces import EngineUnavailableError, StoreUnavailableError
from agent.jobs.disk_guard import MOST_ENTRIES
from agent.jobs.disk_guard_probe import disk_guard_probe
from agent.jobs.health import CheckState
from tests.fakes.engine import Fate, Program
from tests.shell import full_disk
from tests.shell.full_disk import GIB, MIB, guard, run, write
from tests.shell.world import ME, Outcome, Phase, World

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> World:
    return full_disk.world()


@pytest.mark.slow
@pytest.mark.parametrize("to_layer", [False, True])
@pytest.mark.parametrize("bytes_a_second", [20 * MIB, 200 * MIB, 2 * GIB])
async def test_a_writer_is_ended_before_the_disk_is_full_and_the_quiet_one_lives_on(
    world: World, bytes_a_second: float, *, to_layer: bool
) -> None:
    await world.start()
    quiet, writer = await run(world), await run(world)
    world.folders.disk.others -= 2 * GIB
    world.folders.disk.write(quiet, 2 * GIB)
    await write(world, writer, bytes_a_second, 600, to_layer=to_layer)
    job = await world.finish(writer)
    assert (job.outcome, job.reason.code if job.reason else None) == (Outcome.FAILED, "disk_guard")
    assert world.folders.disk.refused == 0
    assert 0 < world.folders.disk.least_free < LINE_BYTES + MIB
    await world.quiesce(60)
    assert (await world.job(quiet)).phase is Phase.RUNNING
    await world.assert_all_is_well()
    await world.crash()


async def test_the_reason_says_how_much_it_held_and_where(world: World) -> None:
    await world.start()
    writer = await run(world)
    await write(world, writer, 200 * MIB)
    job = await world.finish(writer)
    assert job.reason is not None
    assert "in its output folder" in job.reason.message
    assert "GiB" in job.reason.message
    assert "`disk`" in job.reason.remedy
    assert not job.reason.retryable
    events = await world.store.events(ME, 0, writer, 100)
    assert [event.data["cause"] for event in events if event.type == "job.stop_requested"] == ["disk_guard"]
    await world.crash()


async def test_a_job_that_may_be_retried_is_not_retried_onto_the_full_disk(world: World) -> None:
    await world.start()
    writer = await run(world, retry={"count": 3, "backoff": 0})
    await write(world, writer, 200 * MIB)
    assert (await world.finish(writer)).attempt == 1
    await world.crash()


@pytest.mark.slow
async def test_a_disk_that_is_low_for_days_and_does_not_fall_ends_nobody_and_is_not_measured(
    world: World,
) -> None:
    world.folders.disk.others += 3 * GIB + 500 * MIB
    await world.start()
    jobs = [await run(world), await run(world)]
    for job_id in jobs:
        world.folders.disk.others -= 50 * GIB
        world.folders.disk.write(job_id, 50 * GIB)
    await world.quiesce(60)
    counted = len(world.folders.counts)
    await world.quiesce(200)
    assert len(world.folders.counts) == counted <= 2 * len(jobs)
    for job_id in jobs:
        assert (await world.job(job_id)).attempt_stop is None
    await world.crash()


async def test_nothing_is_measured_and_no_row_is_read_while_there_is_room(world: World) -> None:
    await world.start()
    await run(world)
    await world.quiesce(200)
    assert world.folders.counts == []
    assert "held" not in {name for name, _ in world.engine.calls}
    await world.crash()


async def test_what_the_host_fills_by_itself_ends_no_job(world: World) -> None:
    await world.start()
    bystander = await run(world)
    world.folders.disk.write(bystander, GIB)
    while world.folders.disk.free_bytes > 50 * MIB:
        world.folders.disk.others += 10 * MIB
        world.folders.disk.write(bystander, 4096)
        await asyncio.sleep(0.2)
    await world.quiesce(10)
    assert (await world.job(bystander)).phase is Phase.RUNNING
    await world.crash()


async def test_of_two_writers_one_is_ended_and_the_other_only_where_the_disk_falls_on(world: World) -> None:
    await world.start()
    small, large = await run(world), await run(world)
    world.folders.disk.others -= 2 * GIB
    world.folders.disk.write(large, 2 * GIB)
    async with asyncio.TaskGroup() as group:
        group.create_task(write(world, large, 100 * MIB, 600))
        group.create_task(write(world, small, 50 * MIB, 600))
        assert (await world.finish(large)).reason is not None
        assert (await world.job(small)).attempt_stop is None
        assert (await world.finish(small)).reason is not None
    assert world.folders.disk.refused == 0
    await world.crash()


async def test_the_other_lives_where_the_end_of_the_first_made_room(world: World) -> None:
    await world.start()
    small, large = await run(world), await run(world)
    async with asyncio.TaskGroup() as group:
        group.create_task(write(world, large, 400 * MIB, 600))
        group.create_task(write(world, small, 50 * MIB, 20))
        await world.finish(large)
        world.folders.disk.remove(large)  # its outputs have left, and were forgotten
    await world.quiesce(60)
    assert (await world.job(small)).phase is Phase.RUNNING
    assert (await disk_guard_probe(guard(world).view)()).state is CheckState.OK
    await world.crash()


async def test_a_job_with_a_quota_is_not_charged_for_what_was_reserved(world: World) -> None:
    await world.start()
    reserved, writer = await run(world, disk="1GiB"), await run(world)
    world.folders.in_quota.add(reserved)
    world.folders.disk.write(reserved, GIB)
    async with asyncio.TaskGroup() as group:
        group.create_task(write(world, writer, 100 * MIB, 600))
        await world.finish(writer)
    await world.quiesce(60)
    assert (await world.job(reserved)).phase is Phase.RUNNING
    await world.crash()


async def test_one_that_writes_in_the_long_grace_of_its_cancel_is_ended_at_once(world: World) -> None:
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    writer = await run(world)
    await world.cancel(writer, grace=3600)
    await world.until_phase(writer, Phase.STOPPING)
    await write(world, writer, 200 * MIB, 600)
    job = await world.finish(writer, seconds=60)
    assert job.outcome is Outcome.CANCELLED
    assert world.folders.disk.refused == 0
    await world.crash()


async def test_a_fast_writer_that_heeds_no_signal_has_no_grace_to_fill_the_disk_in(world: World) -> None:
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    writer = await run(world, grace=600)
    await write(world, writer, 2 * GIB)
    assert (await world.finish(writer, seconds=60)).reason is not None
    assert world.folders.disk.refused == 0
    await world.crash()


async def test_one_that_takes_all_at_once_is_found_though_nothing_was_measured_before(world: World) -> None:
    await world.start()
    quiet, taker = await run(world), await run(world)
    await world.quiesce(10)
    world.folders.disk.write(taker, 4 * GIB - 100 * MIB)
    assert (await world.finish(taker)).reason is not None
    assert (await world.job(quiet)).phase is Phase.RUNNING
    await world.crash()


async def test_one_that_takes_all_before_the_row_says_that_it_runs_is_found(world: World) -> None:
    await world.start()
    quiet = await run(world)
    await world.quiesce(10)

    def take_all(call: str, container: str) -> None:
        if call == "start":
            world.folders.disk.write(world.engine.boxes[container].seen.job, 4 * GIB - 100 * MIB)

    world.engine.after = take_all
    # The engine's answer is late: the program has run for a while when the agent hears that it runs.
    world.engine.fates = lambda call, _target: Fate.LOST if call == "start" else Fate.WORKS
    taker = await world.submit(timeout=7200)
    job = await world.finish(taker)
    assert (job.outcome, job.reason.code if job.reason else None) == (Outcome.FAILED, "disk_guard")
    assert (await world.job(quiet)).phase is Phase.RUNNING
    await world.crash()


async def test_a_bomb_of_files_hides_nobody_but_its_maker(world: World) -> None:
    await world.start()
    writer, bomb = await run(world), await run(world)
    world.folders.disk.entries = {bomb: 1_000_000, writer: MOST_ENTRIES * 2 // 5}
    world.folders.disk.write(bomb, GIB)
    await write(world, writer, 100 * MIB, 60)
    job = await world.finish(writer)
    assert job.reason is not None
    assert job.reason.code == "disk_guard"
    assert (await world.job(bomb)).attempt_stop is None
    await world.crash()


async def test_a_request_that_could_not_be_written_is_made_again(world: World) -> None:
    await world.start()
    writer = await run(world)
    goes_on, tries = world.store.before, 0

    async def refuse_once(step: str) -> None:
        nonlocal tries
        tries += step == "change"
        if step == "change" and tries == 1:
            raise StoreUnavailableError("the disk is full")
        await goes_on(step)

    world.store.before = refuse_once
    await write(world, writer, 100 * MIB)
    job = await world.finish(writer)
    assert job.reason is not None
    assert job.reason.code == "disk_guard"
    assert world.folders.disk.least_free > LINE_BYTES - 180 * MIB, (
        "it is made with the next look, and not after a patience"
    )
    await world.crash()


async def test_an_engine_that_is_away_keeps_nobody_from_being_found_by_his_outputs(world: World) -> None:
    await world.start()
    writer = await run(world)

    def be_away(name: str, _target: str) -> Fate:
        if name == "held":
            raise EngineUnavailableError("it hangs")
        return Fate.WORKS

    world.engine.fates = be_away
    await write(world, writer, 200 * MIB)
    job = await world.finish(writer)
    assert job.reason is not None
    assert job.reason.code == "disk_guard"
    await world.crash()


async def test_an_engine_that_is_down_from_the_agents_start_on_leaves_the_state_folder_guarded(
    world: World,
) -> None:
    await world.start()
    writer = await run(world)
    await world.crash()
    world.engine.stop()
    world.engine.has_told_where = False
    await world.start()
    await write(world, writer, 200 * MIB, 60)
    stop = (await world.job(writer)).attempt_stop
    assert stop is not None
    assert stop.cause is StopCause.DISK_GUARD
    await world.crash()


async def test_where_the_engines_disk_is_not_in_sight_the_state_folders_is_guarded(world: World) -> None:
    world.engine.disk = None
    await world.start()
    writer = await run(world)
    await write(world, writer, 200 * MIB)
    assert (await world.finish(writer)).reason is not None
    found = await disk_guard_probe(guard(world).view)()
    assert "the engine's disk can't be seen" in found.evidence
    await world.crash()


async def test_the_agent_may_die_at_the_request_and_it_still_holds(world: World) -> None:
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    writer = await run(world)
    writing = asyncio.get_running_loop().create_task(write(world, writer, 100 * MIB))
    await world.until(writer, lambda job: job.attempt_stop is not None)
    await world.restart()
    job = await world.finish(writer, seconds=60)
    assert job.reason is not None
    assert job.reason.code == "disk_guard"
    await writing
    await world.crash()


async def test_the_check_warns_below_the_floor_and_says_how_many_were_ended(world: World) -> None:
    await world.start()
    probe = disk_guard_probe(guard(world).view)
    await world.quiesce(10)
    assert (await probe()).state is CheckState.OK
    writer = await run(world)
    await write(world, writer, 100 * MIB)
    await world.finish(writer)
    await world.quiesce(10)
    found = await probe()
    assert found.state is CheckState.WARN
    assert "1 job was ended" in found.evidence
    assert writer not in found.evidence
    world.folders.disk.remove(writer)
    await world.quiesce(10)
    found = await probe()
    assert found.state is CheckState.OK
    assert "1 job was ended" in found.evidence
    assert world.folders.disk.free_bytes > FLOOR_BYTES
    await world.crash()
