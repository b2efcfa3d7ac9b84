"""Strays are ended and removed, finished jobs forgotten in time; and only strays count as orphans: neither what the engine is
removing already, nor what its own job removed during the look.
"""

import asyncio
import errno
from collections import Counter
from dataclasses import replace

import pytest

from agent.core.container import Container, ContainerEvent, ContainerState, EventKind
from agent.interfaces import EngineRefusedError
from agent.jobs.janitor import LIST_SECONDS, STUCK_SECONDS, Janitor
from tests.fakes.engine import FakeEngine, Fate, Program
from tests.shell.world import AGENT, World

pytestmark = pytest.mark.looptime

STRAY = Container("c" * 64, "gpu-agent-x-1", ContainerState.EXITED, agent=AGENT, job="no-such-job", attempt=1)


@pytest.mark.parametrize(("state", "counted"), [(ContainerState.REMOVING, 0), (ContainerState.EXITED, 1)])
async def test_a_container_that_is_going_already_is_not_counted(state: ContainerState, counted: int) -> None:
    world = World()
    stray = replace(STRAY, state=state)
    world.engine._add(stray, None)
    await world.start()
    assert world.shell is not None
    async with asyncio.timeout(60):
        while stray.id in world.engine.boxes:
            await asyncio.sleep(0.1)
    assert world.shell.janitor.orphans_removed == counted
    await world.crash()


def add(world: World, stray: Container) -> Container:
    world.engine._add(stray, None)
    return stray


async def until_gone(world: World, stray: Container) -> None:
    async with asyncio.timeout(60):
        while stray.id in world.engine.boxes:
            await asyncio.sleep(0.1)


async def test_a_stray_that_runs_is_killed_and_removed() -> None:
    world = World()
    stray = add(world, replace(STRAY, state=ContainerState.RUNNING))
    await world.start()
    await until_gone(world, stray)
    assert ("kill", stray.id) in world.engine.calls
    await world.crash()


async def test_a_stray_that_can_not_be_removed_keeps_no_other_from_it_and_is_tried_again() -> None:
    world = World()
    stuck, other = add(world, STRAY), add(world, replace(STRAY, id="d" * 64, name="gpu-agent-y-1"))
    is_stuck = [True]

    def refuse(name: str, target: str) -> Fate:
        if (name, target) == ("remove", stuck.id) and is_stuck[0]:
            raise EngineRefusedError("device or resource busy")
        return Fate.WORKS

    world.engine.fates = refuse
    await world.start()
    await until_gone(world, other)
    assert world.shell is not None
    assert world.shell.janitor.orphans_removed == 1
    is_stuck[0] = False
    await until_gone(world, stuck)
    await world.crash()


async def test_a_finished_job_is_forgotten_when_its_time_is_over_and_not_before() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.settings = replace(world.settings, retention_seconds=1000)
    await world.start()
    job_id = await world.submit()
    await world.finish(job_id)
    await asyncio.sleep(900)
    assert await world.store.job_ids() == {job_id}
    assert job_id in world.folders.records
    await asyncio.sleep(200)
    assert await world.store.job_ids() == set()
    assert job_id not in world.folders.records
    await world.crash()


async def test_folders_that_can_not_be_removed_are_however_many_in_no_others_way() -> None:
    world = World(concurrency=200)
    world.engine.program = Program(seconds=1)
    await world.start()
    assert world.shell is not None
    stuck = [await world.submit() for _ in range(110)]
    remove, tries = world.folders.remove, Counter[str]()

    async def remove_most(job_id: str) -> None:
        tries[job_id] += 1
        if job_id in stuck:
            raise OSError(errno.EUCLEAN, "Structure needs cleaning")
        await remove(job_id)

    world.folders.remove = remove_most  # type: ignore[method-assign] # one fault of the world
    for job_id in stuck:
        await world.finish(job_id)
    last = await world.submit()
    await world.finish(last)
    world.shell.janitor.retention_seconds = 1
    await asyncio.sleep(2 * STUCK_SECONDS)
    assert await world.store.job_ids() == set(stuck)
    assert all(tries[job_id] >= 2 for job_id in stuck)  # somebody may have mended the disk
    await world.crash()


class _EngineThatMovesOn(FakeEngine):
    """Whatever it lists has been removed by the time that the list is read."""

    was_listed = False

    async def ours(self) -> list[Container]:
        listed = await super().ours()
        for container in listed:
            await self.remove(container.id)
        self.was_listed = True
        return listed


async def test_a_container_that_its_job_removed_during_the_look_is_not_counted() -> None:
    world = World()
    engine = _EngineThatMovesOn(world.clock, AGENT)
    engine._add(STRAY, None)
    janitor = Janitor(engine, world.store, world.folders, world.clock, retention_seconds=60)
    task = asyncio.get_running_loop().create_task(janitor.clean())
    async with asyncio.timeout(60):
        while not engine.was_listed:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
    assert janitor.orphans_removed == 0
    assert not task.done()  # it looks on
    task.cancel()


class _CountingEngine(FakeEngine):
    lists = 0

    async def ours(self) -> list[Container]:
        self.lists += 1
        return await super().ours()


async def test_closes_in_a_row_cost_the_engine_one_list_in_five_seconds_and_the_last_is_not_forgotten() -> (
    None
):
    world = World()
    engine = _CountingEngine(world.clock, AGENT)
    janitor = Janitor(engine, world.store, world.folders, world.clock, retention_seconds=60)
    task = asyncio.get_running_loop().create_task(janitor.clean())
    for _ in range(100):
        await asyncio.sleep(0.1)
        janitor.look()
    assert engine.lists in {2, 3}
    engine._add(STRAY, None)  # too late for any list but that of the last close
    janitor.look()
    async with asyncio.timeout(LIST_SECONDS + 1):
        while STRAY.id in engine.boxes:
            await asyncio.sleep(0.1)
    task.cancel()


async def test_a_stray_whose_event_was_seen_waits_for_no_list() -> None:
    world = World()
    engine = _CountingEngine(world.clock, AGENT)
    janitor = Janitor(engine, world.store, world.folders, world.clock, retention_seconds=60)
    task = asyncio.get_running_loop().create_task(janitor.clean())
    await asyncio.sleep(0.5)
    engine._add(STRAY, None)
    janitor.suspect(ContainerEvent(EventKind.CREATE, STRAY.id, STRAY.job or "", 1, 0.0))
    async with asyncio.timeout(1):
        while STRAY.id in engine.boxes:
            await asyncio.sleep(0.1)
    assert engine.lists == 1
    task.cancel()
