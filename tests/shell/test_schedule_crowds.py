"""Many schedules at once, slow ones, and owners whose queue is full: who holds up whom, and what becomes of the minutes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.core.job import Viewer
from agent.core.policy import Limits
from agent.interfaces import NoSuchChuteError
from agent.interfaces.chutes import CallSpec
from tests.shell.schedule_world import ANN, BODY, ScheduleWorld

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> AsyncIterator[ScheduleWorld]:
    made = ScheduleWorld()
    await made.start()
    yield made
    await made.crash()


async def test_of_a_thousand_the_one_that_is_due_is_looked_at_and_no_other(world: ScheduleWorld) -> None:
    for number in range(999):
        await world.add("0 3 1 1 *", f"s{number}")
    due = await world.add("*/5 * * * *", "due")
    await world.sleep_until(2)
    world.calls.clear()
    await world.sleep_until(4.9)
    assert world.calls == []
    await world.sleep_until(5 + 1 / 60)
    assert [job.fired_by and job.fired_by.schedule for job in world.jobs()] == [due]
    assert world.calls.count("schedule") == 2  # for the minute, and for what comes after it
    assert world.calls.count("timed_schedules") == 0


async def test_many_that_are_due_in_one_minute_all_fire(world: ScheduleWorld) -> None:
    ids = {await world.add("0 9 * * *", f"s{number}") for number in range(100)}
    await world.sleep_until(60.5)
    assert {job.fired_by and job.fired_by.schedule for job in world.jobs()} == ids


async def test_who_has_many_in_one_minute_holds_up_nobody_elses_one(world: ScheduleWorld) -> None:
    for number in range(100):
        await world.add("0 9 * * *", f"s{number}")
    await world.add("0 9 * * *", viewer=Viewer("bob"))
    await world.sleep_until(61)
    owners = [job.owner for job in world.jobs()]
    assert len(owners) == 101
    assert owners.index("bob") < 10


async def test_who_adds_one_is_heard_while_anothers_many_are_tried_again(world: ScheduleWorld) -> None:
    eve = Viewer("eve")
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(eve, BODY)
    for number in range(300):
        await world.add("* * * * *", f"s{number}", viewer=eve)
    before = world.store.before

    async def slow(step: str) -> None:
        # All of them once take longer than the time until the first one is tried again.
        await asyncio.sleep(0.2 if step in {"accept", "change_schedule"} else 0.05)
        await before(step)

    world.store.before = slow
    await world.sleep_until(2.5)
    ann = await world.add("* * * * *")
    await world.sleep_until(3.5)
    assert await world.counts(ann) == (1, 0, 0)


async def test_a_full_queue_is_found_full_once_for_all_that_its_owner_has_due(world: ScheduleWorld) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(ANN, BODY)
    ids = [await world.add("0 * * * *", f"s{number}") for number in range(50)]
    world.passed.clear()
    await world.sleep_until(61.5)
    assert {await world.counts(each) for each in ids} == {(0, 0, 1)}
    # Four at once, each ten seconds of a minute.
    assert 1 <= world.passed.count("before claim") <= 4 * 7


async def test_starts_of_one_owner_that_are_stuck_hold_up_nobody_for_long(world: ScheduleWorld) -> None:
    stuck = [await world.add_function(name=f"stuck{number}") for number in range(8)]
    gate = asyncio.Event()

    async def wait(*_: str) -> CallSpec:
        await gate.wait()
        raise NoSuchChuteError("never comes")

    world.functions.compose_call = wait  # type: ignore[method-assign] # a fake, told to be slow
    await world.sleep_until(59)
    bobs = await world.add("0,1 * * * *", viewer=Viewer("bob"))
    await world.sleep_until(60.5)
    assert (await world.read(bobs)).fired == 1
    await world.finish_all()
    await world.sleep_until(61.5)
    assert (await world.read(bobs)).fired == 2
    await world.sleep_until(62.5)
    assert {await world.counts(each) for each in stuck} == {(0, 0, 1)}


async def test_one_that_is_slow_holds_up_no_other(world: ScheduleWorld) -> None:
    slow, quick = await world.add_function(), await world.add("0 * * * *")
    compose, gate = world.functions.compose_call, asyncio.Event()

    async def wait(owner: str, chute: str, function: str) -> object:
        await gate.wait()
        return await compose(owner, chute, function)

    world.functions.compose_call = wait  # type: ignore[method-assign,assignment] # a fake, told to be slow
    await world.sleep_until(60.1)
    assert [job.fired_by and job.fired_by.schedule for job in world.jobs()] == [quick]
    gate.set()
    await asyncio.sleep(1)
    assert (await world.read(slow)).fired == 1


async def test_a_full_queue_is_tried_again_while_the_minute_is_young(world: ScheduleWorld) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(ANN, BODY)
    schedule = await world.add("0 * * * *")
    await world.sleep_until(60.3)
    trouble = (await world.read(schedule)).trouble
    assert trouble is not None
    assert trouble.code == "queue_full"
    await world.finish_all()
    await world.sleep_until(60.4)
    row = await world.read(schedule)
    assert (row.fired, row.missed, row.trouble) == (1, 0, None)


async def test_a_queue_that_stays_full_for_a_minute_has_the_minute_missed(world: ScheduleWorld) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(ANN, BODY)
    schedule = await world.add("0 * * * *")
    await world.sleep_until(62)
    row = await world.read(schedule)
    assert (row.fired, row.missed) == (0, 1)
    assert row.trouble is not None
    assert world.folders.records.keys() == {job.id for job in world.jobs()}


async def test_each_minute_in_which_the_queue_is_full_is_counted(world: ScheduleWorld) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(ANN, BODY)
    schedule = await world.add("* * * * *")
    await world.sleep_until(4.5)
    assert await world.counts(schedule) == (0, 0, 3)
    assert world.all.timetable.tally.failed == 4
    await world.finish_all()
    await world.sleep_until(4.9)
    assert await world.counts(schedule) == (1, 0, 3)
    assert world.minutes() == [4]


async def test_who_catches_up_is_tried_more_and_more_rarely(world: ScheduleWorld) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(ANN, BODY)
    schedule = await world.add("0 */12 * * *", catch_up=True)
    world.passed.clear()
    await world.sleep_until(4 * 60 + 5)
    assert 5 < world.passed.count("before claim") < 25
    await world.sleep_until(14 * 60)
    assert world.passed.count("before claim") < 90
    await world.finish_all()
    await world.sleep_until(14 * 60 + 10.5)
    assert await world.counts(schedule) == (1, 0, 0)


async def test_who_catches_up_is_not_tried_so_rarely_that_the_next_minute_is_late(
    world: ScheduleWorld,
) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    await world.all.intake.submit(ANN, BODY)
    schedule = await world.add("0 * * * *", catch_up=True)
    await world.sleep_until(119.95)
    await world.finish_all()
    await world.sleep_until(120.3)
    assert world.minutes() == [120]
    assert await world.counts(schedule) == (1, 0, 1)
