"""The engine answers no where a job ends: a removal that is cut off or busy, a KILL that ends nothing, a log that can't be read."""

import asyncio
from dataclasses import replace

import pytest

from agent.core.container import ContainerState
from agent.interfaces import EngineRefusedError
from tests.fakes.engine import Fate, Program
from tests.shell.test_runner_traces import the_container
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime


def refuse(world: World, name: str, times: int) -> list[str]:
    """The next so many calls of that name are answered with a no; returns the list of their targets as it grows."""
    refused: list[str] = []

    def choose(called: str, target: str) -> Fate:
        if called == name and len(refused) < times:
            refused.append(target)
            raise EngineRefusedError("device or resource busy")
        return Fate.WORKS

    world.engine.fates = choose
    return refused


async def test_a_removal_that_is_refused_for_a_while_costs_neither_the_outcome_nor_the_retries() -> None:
    world = World()
    world.engine.program = Program(seconds=1, code=1)
    refused = refuse(world, "remove", times=3)
    await world.start()
    job = await world.finish(await world.submit(retry={"count": 1, "backoff": 1}))
    assert len(refused) == 3
    assert job.attempt == 2
    assert job.reason is not None
    assert job.reason.code == "exit_nonzero"
    await world.assert_all_is_well()
    await world.crash()


async def test_a_removal_that_is_under_way_is_waited_for_before_the_job_is_over() -> None:
    world = World()
    world.engine.program = Program(seconds=1)

    async def remove(container: str) -> bool:
        box = world.engine.boxes[container]
        box.seen = replace(box.seen, state=ContainerState.REMOVING)
        asyncio.get_running_loop().call_later(5, world.engine.remove_now, container)
        return False

    world.engine.remove = remove  # type: ignore[method-assign] # slow at one step
    await world.start()
    assert (await world.finish(await world.submit(), seconds=20)).outcome is Outcome.SUCCEEDED
    assert world.engine.boxes == {}
    await world.crash()


async def test_a_container_left_dead_by_a_removal_that_was_cut_off_is_removed_again() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    container = await the_container(world)

    def die_on_the_way(name: str, target: str) -> Fate:
        box = world.engine.boxes.get(target)
        if name == "remove" and box is not None and box.seen.state is ContainerState.EXITED:
            box.seen = replace(box.seen, state=ContainerState.DEAD)
            raise EngineRefusedError("unable to remove filesystem")
        return Fate.WORKS

    world.engine.fates = die_on_the_way
    job = await world.finish(job_id, seconds=60)
    assert job.outcome is Outcome.SUCCEEDED
    assert container.id not in world.engine.boxes
    await world.crash()


async def test_a_container_that_a_kill_does_not_end_is_unkillable_and_keeps_its_lease() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    job_id = await world.submit(ports=[{"name": "web", "port": 8080, "proto": "tcp"}], grace=0)
    await world.until_phase(job_id, Phase.RUNNING)
    refuse(world, "kill", times=1000)
    await world.cancel(job_id, grace=0)
    await world.quiesce(120)
    assert world.shell is not None
    assert list(world.shell.supervisor.unkillable) == [job_id]
    job = await world.job(job_id)
    assert (job.phase, job.attempt_stop) == (Phase.STOPPING, None)
    assert job.lease is not None
    await world.crash()


async def test_a_kill_without_an_answer_is_sent_again() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=None)
    await world.start()
    job_id = await world.submit(grace=0)
    await world.until_phase(job_id, Phase.RUNNING)
    lost = [Fate.NEVER]
    world.engine.fates = lambda name, _target: lost.pop() if name == "kill" and lost else Fate.WORKS
    await world.cancel(job_id, grace=0)
    job = await world.finish(job_id, seconds=8)
    assert job.outcome is Outcome.CANCELLED
    await world.crash()


async def test_a_stop_signal_without_an_answer_is_sent_again() -> None:
    world = World()
    world.engine.program = Program(seconds=None, on_term=7)
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    lost = [Fate.NEVER]
    world.engine.fates = lambda name, _target: lost.pop() if name == "kill" and lost else Fate.WORKS
    await world.cancel(job_id, grace=60)
    job = await world.finish(job_id, seconds=8)
    assert job.run.exit is not None
    assert (job.outcome, job.run.exit.code) == (Outcome.CANCELLED, 7)
    await world.crash()


async def test_a_log_that_the_engine_can_not_read_is_lost_and_the_job_still_finishes() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    refuse(world, "read_logs", times=1000)
    job = await world.finish(await world.submit(), seconds=60)
    assert job.outcome is Outcome.SUCCEEDED
    assert world.engine.boxes == {}
    await world.crash()


@pytest.mark.parametrize("code", [126, 127])
async def test_a_log_that_can_not_be_read_keeps_no_job_from_its_end_whose_init_may_have_refused_its_command(
    code: int,
) -> None:
    world = World()
    world.engine.program = Program(seconds=1, code=code)
    await world.start()
    refuse(world, "read_logs", times=1000)
    job = await world.finish(await world.submit(), seconds=60)
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "exit_nonzero")
    await world.crash()


async def test_a_log_that_holds_no_frames_keeps_no_job_from_its_end() -> None:
    world = World()
    world.engine.program = Program(seconds=1, code=127, output=(b"no frames at all",))
    await world.start()
    job = await world.finish(await world.submit(), seconds=60)
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "exit_nonzero")
    await world.crash()


async def test_a_poke_while_the_daemon_leaves_is_for_the_next_one() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    first = await world.finish(await world.submit())
    shell = world.shell
    assert shell is not None
    await world.crash()
    shell.wake("00000000-0000-7000-8000-00000000ffff")
    await world.start()
    assert (await world.finish(await world.submit())).id != first.id
    await world.crash()
