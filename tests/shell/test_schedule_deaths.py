"""A daemon that dies at each boundary in turn, as a schedule is made, fires and is removed: each minute has one job, or none and a count."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest
import structlog

from agent.interfaces import ScheduleNameTakenError
from tests.shell.boundaries import DeathOfTheDaemon
from tests.shell.schedule_world import ANN, BODY, ScheduleWorld

pytestmark = pytest.mark.looptime(noop_cycles=2)  # nothing here waits for anything but this loop

LIVES = 6


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def fresh_world(die_at: int | None = None) -> ScheduleWorld:
    """Of several in one test each begins at the same time."""
    world = ScheduleWorld()
    world.clock.started -= asyncio.get_running_loop().time()
    world.die_at = die_at
    return world


async def revive(world: ScheduleWorld, seconds: float = 1.0) -> None:
    """As a service manager does."""
    if world.is_dead:
        await asyncio.sleep(seconds)
        await world.restart()


async def sleep_until(world: ScheduleWorld, minutes: float, away: float = 1.0) -> None:
    while world.clock.now() < 1_800_000_000.0 + minutes * 60:
        await asyncio.sleep(0.25)
        await revive(world, away)


async def fire_three_times(world: ScheduleWorld) -> str:
    await world.start()
    schedule = await world.add("* * * * *")
    for minute in (1, 2, 3):
        await sleep_until(world, minute + 0.2)
        await world.finish_all()
    return schedule


async def test_each_boundary_of_a_firing_leaves_one_job_for_its_minute() -> None:
    whole = fresh_world()
    await fire_three_times(whole)
    await whole.crash()
    steps = whole.passed
    assert {"before claim", "after claim", "before accept", "after accept"} <= set(steps)
    # The first ones are the making of the schedule, which a client repeats: the next test.
    for death in range(steps.index("before claim") + 1, len(steps) + 1):
        world = fresh_world(death)
        schedule = await fire_three_times(world)
        where = world.passed[:death][-3:]
        assert world.minutes() == [1, 2, 3], where
        assert await world.counts(schedule) == (3, 0, 0), where
        assert set(world.folders.records) == {job.id for job in world.jobs()}, where
        await world.crash()


async def test_a_daemon_that_comes_back_too_late_counts_the_minute_or_has_its_job() -> None:
    steps = fresh_world()
    await fire_three_times(steps)
    await steps.crash()
    seen = set()
    for death in range(steps.passed.index("before claim") + 1, len(steps.passed) + 1):
        world = fresh_world(death)
        await world.start()
        schedule = await world.add("*/5 * * * *")
        await sleep_until(world, 5.2, away=100)
        await world.finish_all()
        await sleep_until(world, 10.2)
        fired, skipped, missed = await world.counts(schedule)
        seen.add((fired, missed))
        assert (fired + missed, skipped) == (2, 0)
        assert len(world.minutes()) == len(set(world.minutes())) == fired
        await world.crash()
    assert seen == {(2, 0), (1, 1)}


async def skip_twice(world: ScheduleWorld) -> str:
    await world.start()
    schedule = await world.add("* * * * *")
    await sleep_until(world, 3.2)
    return schedule


async def test_each_boundary_of_a_skip_counts_it_once_and_tells_it_once() -> None:
    whole = fresh_world()
    await skip_twice(whole)
    await whole.crash()
    assert "after change_schedule" in whole.passed
    for death in range(whole.passed.index("before change_schedule") + 1, len(whole.passed) + 1):
        world = fresh_world(death)
        schedule = await skip_twice(world)
        await revive(world)
        assert await world.counts(schedule) == (1, 2, 0)
        (job,) = world.jobs()
        events = await world.store.events(ANN, 0, job.id, 99)
        assert [event.type for event in events].count("schedule.skipped") == 1
        await world.crash()


async def as_a_client(world: ScheduleWorld, ask: Callable[[], Awaitable[object]]) -> None:
    """Asks again until it is answered."""
    for _ in range(LIVES):
        try:
            await ask()
        except DeathOfTheDaemon:
            await revive(world)
        except ScheduleNameTakenError:
            return
        else:
            return
    raise AssertionError("no answer in all these lives")


async def make_and_remove(world: ScheduleWorld) -> None:
    await world.start()
    body = {"name": "s", "cron": "* * * * *", "spec": BODY}
    await as_a_client(world, lambda: world.all.add(ANN, body))
    rows = [row async for row in _rows(world)]
    assert [row for row in rows if row in world.files.kept] == rows
    assert len(rows) == 1
    await as_a_client(world, lambda: _remove(world))
    await revive(world)


async def _rows(world: ScheduleWorld):  # noqa: ANN202 - a generator of ids
    for schedule_id in await world.store.schedule_ids():
        yield schedule_id


async def _remove(world: ScheduleWorld) -> None:
    for schedule_id in await world.store.schedule_ids():
        await world.all.remove(ANN, schedule_id)


async def test_each_boundary_of_making_and_removing_leaves_a_row_with_its_file_or_neither() -> None:
    whole = fresh_world()
    await make_and_remove(whole)
    await whole.crash()
    assert {"after keep", "after add_schedule", "after remove_schedule", "after remove"} <= set(whole.passed)
    for death in range(1, len(whole.passed) + 1):
        world = fresh_world(death)
        await make_and_remove(world)
        await world.restart()
        assert world.files.kept == {}, world.passed[:death][-3:]
        assert await world.store.schedule_ids() == set()
        await world.crash()
