"""An engine that is killed within a start may say "created" of what it started: such a container is never started again."""

import pytest

from tests.fakes.engine import Fate, Program
from tests.shell.world import Outcome, World

pytestmark = pytest.mark.looptime


def lose_one_start(world: World) -> None:
    lost: list[str] = []

    def fate(name: str, _target: str) -> Fate:
        if name != "start" or lost:
            return Fate.WORKS
        lost.append(name)
        return Fate.NEVER

    world.engine.fates = fate


async def lose_a_start(world: World) -> str:
    """A start that is sent and never answered. The job's id."""
    world.engine.program = Program(seconds=1)
    lose_one_start(world)
    await world.start()
    job_id = await world.submit()
    await world.until(job_id, lambda _: "start" in {name for name, _ in world.engine.calls})
    return job_id


async def test_a_start_that_an_engine_forgot_with_its_death_is_lost_and_not_repeated() -> None:
    world = World()
    job_id = await lose_a_start(world)
    world.engine.crash()
    world.engine.come_up()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "engine_stopped")
    assert [name for name, _ in world.engine.calls].count("start") == 1
    assert not world.engine.boxes
    await world.crash()


async def test_so_it_is_where_the_daemon_died_with_the_engine() -> None:
    world = World()
    job_id = await lose_a_start(world)
    await world.crash()
    world.engine.crash()
    world.engine.come_up()
    await world.start()
    job = await world.finish(job_id)
    assert (job.outcome, job.reason and job.reason.code) == (Outcome.LOST, "engine_stopped")
    await world.crash()


async def test_an_engine_that_lived_through_it_is_believed_and_the_start_is_repeated() -> None:
    world = World()
    job_id = await lose_a_start(world)
    await world.restart()
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 1)
    await world.crash()


async def test_a_start_that_was_never_sent_is_sent_when_the_engine_is_back() -> None:
    world = World()
    world.engine.program = Program(seconds=1)

    def crash_before_the_start(name: str, _target: str) -> None:
        if name == "create":
            world.engine.crash()

    world.engine.after = crash_before_the_start
    await world.start()
    job_id = await world.submit()
    await world.until(job_id, lambda _: not world.engine.is_up)
    world.engine.come_up()
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 1)
    await world.crash()
