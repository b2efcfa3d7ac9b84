"""Schedules under a virtual clock: what fires, what is skipped, what was missed, and what the clock and the store do to them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import structlog

from agent.api.schedule_views import show_schedule
from agent.core.job import FiredBy, Kind, Viewer
from agent.core.policy import ImageRules, Limits
from agent.core.schedule import Started, pause, resume
from agent.errors import Phase
from agent.interfaces import (
    NoSuchScheduleError,
    ScheduleNameTakenError,
    StoreUnavailableError,
)
from agent.jobs.health import CheckState, Finding
from agent.jobs.schedules.schedules import ScheduleOfChuteError
from agent.jobs.schedules.timetable import BROKEN_SECONDS
from agent.jobs.schedules_probe import SEE_THE_CLOCK, SEE_THE_DISK, schedules_probe
from agent.spec import ScheduleRefusedError
from tests.shell.schedule_world import ANN, BEGIN, BODY, DAY, HOUR, ScheduleWorld

pytestmark = pytest.mark.looptime

MINUTE = 60.0


@pytest.fixture
async def world() -> AsyncIterator[ScheduleWorld]:
    made = ScheduleWorld()
    await made.start()
    yield made
    await made.crash()


# ── what fires ──


async def test_a_job_is_accepted_within_a_second_of_its_minute(world: ScheduleWorld) -> None:
    schedule = await world.add("*/5 * * * *")
    await world.sleep_until(4.99)
    assert world.jobs() == []
    await world.sleep_until(5 + 1 / 60)
    (job,) = world.jobs()
    assert (job.owner, job.kind, job.fired_by) == (
        "ann",
        Kind.CONTAINER,
        FiredBy(schedule, BEGIN + 5 * MINUTE),
    )
    assert world.woken == [job.id]
    assert job.id == (await world.read(schedule)).job_of(BEGIN + 5 * MINUTE)
    assert (await world.read(schedule)).last == Started(BEGIN + 5 * MINUTE, job.id, job.created_at)


async def test_secrets_reach_the_job_and_no_row(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.sleep_until(1.1)
    (job,) = world.jobs()
    assert (await world.folders.secrets(job.id)).values == BODY["secrets"]
    assert "tell-nobody" not in repr(await world.read(schedule))
    assert json.loads(world.files.kept[schedule]) == BODY


async def test_it_fires_again_and_again(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    for number in range(1, 6):
        await world.sleep_until(number + 0.1)
        await world.finish_all()
    assert world.minutes() == [1, 2, 3, 4, 5]
    assert await world.counts(schedule) == (5, 0, 0)


async def test_a_function_is_called_without_a_payload(world: ScheduleWorld) -> None:
    await world.add_function()
    await world.sleep_until(60.1)
    (job,) = world.jobs()
    assert job.call is not None
    assert (job.kind, job.call.function) == (Kind.FUNCTION, "nightly")
    assert await world.folders.payload(job.id) == b"{}"


async def test_a_deploy_that_changes_a_cron_is_heard_by_who_waits_for_the_one_before(
    world: ScheduleWorld,
) -> None:
    schedule = await world.add_function("@yearly")
    await world.sleep_until(2)
    row = await world.read(schedule)
    await world.store.change_schedule(
        schedule, ANN, lambda _: (replace(row, cron="* * * * *", since=world.clock.now()), {})
    )
    world.all.timetable.look()
    await world.sleep_until(3.1)
    assert world.minutes() == [3]


async def test_a_pause_that_ends_before_anybody_looks_is_a_pause_all_the_same(world: ScheduleWorld) -> None:
    world.limits = Limits(queued_jobs=1)
    await world.restart()
    first = (await world.all.intake.submit(ANN, BODY)).job
    schedule = await world.add("*/2 * * * *", catch_up=True)
    await world.sleep_until(2.1)  # tried in vain, and waited for again
    await world.store.change_schedule(schedule, ANN, lambda found: (pause(found), {}))
    now = world.clock.now()
    await world.store.change_schedule(schedule, ANN, lambda found: (resume(found, now), {}))
    world.all.timetable.look()
    await world.store.save(replace(first, phase=Phase.FINISHED, finished_at=now))
    await world.sleep_until(4.1)
    assert world.minutes() == [4]
    assert await world.counts(schedule) == (1, 0, 0)


# ── overlaps ──


async def test_a_minute_is_skipped_while_the_job_before_it_has_not_ended(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.sleep_until(3.1)
    assert world.minutes() == [1]
    assert await world.counts(schedule) == (1, 2, 0)
    (job,) = world.jobs()
    told = [
        event for event in await world.store.events(ANN, 0, job.id, 99) if event.type == "schedule.skipped"
    ]
    # Once: of a job that waits for days it would be an event each minute.
    assert [event.data for event in told] == [{"schedule": schedule, "due": "2027-01-15T08:02:00.000Z"}]
    await world.finish_all()
    await world.sleep_until(4.1)
    assert world.minutes() == [1, 4]


async def test_a_job_that_was_run_by_hand_is_one_before_it(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    ran = (await world.all.run(ANN, schedule, None)).job
    assert ran.fired_by == FiredBy(schedule, None)
    await world.sleep_until(1.1)
    assert [job.id for job in world.jobs()] == [ran.id]
    assert await world.counts(schedule) == (0, 1, 0)


async def test_a_run_by_hand_hides_no_job_that_has_not_ended(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.sleep_until(1.1)
    ran = (await world.all.run(ANN, schedule, None)).job
    await world.store.save(replace(ran, phase=Phase.FINISHED, finished_at=world.clock.now()))
    await world.sleep_until(2.1)
    assert await world.counts(schedule) == (1, 1, 0)


async def test_a_job_that_is_forgotten_holds_up_none(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.sleep_until(1.1)
    await world.finish_all()
    await world.store.forget(world.jobs()[0].id, ANN)
    await world.sleep_until(2.1)
    assert await world.counts(schedule) == (2, 0, 0)


# ── missed ──


async def away(world: ScheduleWorld, minutes: float) -> None:
    await world.crash()
    await world.sleep_until(minutes)
    await world.start()
    await asyncio.sleep(1)


async def test_what_came_while_the_daemon_was_away_is_counted_and_not_made_up_for(
    world: ScheduleWorld,
) -> None:
    schedule = await world.add("0 * * * *")
    await away(world, 185)
    assert world.jobs() == []
    assert await world.counts(schedule) == (0, 0, 3)
    await world.sleep_until(240.1)
    assert world.minutes() == [240]


async def test_who_catches_up_gets_one_job_for_the_latest_minute(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *", catch_up=True)
    await away(world, 185)
    assert world.minutes() == [180]
    assert await world.counts(schedule) == (1, 0, 2)


async def test_a_start_within_a_minute_is_not_too_late(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")
    await away(world, 60.9)
    assert world.minutes() == [60]
    assert await world.counts(schedule) == (1, 0, 0)


# ── the clock ──


async def test_a_clock_that_is_set_back_over_a_minute_fires_nothing_twice(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.sleep_until(1.1)
    await world.finish_all()
    world.clock.started -= 90
    await world.sleep_until(1.5)
    assert world.minutes() == [1]
    await world.sleep_until(2.1)
    assert world.minutes() == [1, 2]
    assert await world.counts(schedule) == (2, 0, 0)


async def test_also_a_daemon_that_was_started_meanwhile_fires_nothing_twice(world: ScheduleWorld) -> None:
    await world.add("* * * * *")
    await world.sleep_until(1.1)
    await world.finish_all()
    world.clock.started -= 90
    await world.restart()
    await world.sleep_until(1.9)
    assert world.minutes() == [1]


async def test_a_clock_that_is_set_forwards_over_a_minute_fires_within_five_seconds(
    world: ScheduleWorld,
) -> None:
    await world.add("0 9 * * *")
    await world.sleep_until(10)
    world.clock.started += 50 * MINUTE + 20
    await asyncio.sleep(5.1)
    assert world.minutes() == [60]


async def test_a_clock_that_is_set_far_forwards_has_missed_what_it_jumped_over(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")
    caught = await world.add("0 * * * *", "caught", catch_up=True)
    await world.sleep_until(10)
    world.clock.started += 2.5 * HOUR
    await asyncio.sleep(5.1)
    assert await world.counts(schedule) == (0, 0, 2)
    assert await world.counts(caught) == (1, 0, 1)


async def test_a_clock_that_was_days_ahead_and_is_corrected_silences_nothing(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")
    await world.sleep_until(10)
    world.clock.started += 3 * DAY
    await asyncio.sleep(HOUR)
    await world.finish_all()
    assert await world.counts(schedule) == (1, 0, 72)
    world.clock.started -= 3 * DAY
    await asyncio.sleep(6)
    assert (await world.read(schedule)).since < world.clock.now()
    await world.sleep_until(120.1)
    assert world.minutes()[1:] == [120]
    # The minute that had a job already, of the clock that was ahead, has one of its own when it comes.
    await world.finish_all()
    await away(world, 73 * 60 - 1)
    await world.sleep_until(73 * 60 + 0.1)
    assert world.minutes().count(73 * 60) == 2


async def test_a_host_that_slept_is_a_host_that_was_away(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")
    await world.sleep_until(10)
    world.clock.asleep += 1.5 * HOUR
    await asyncio.sleep(5.1)
    assert await world.counts(schedule) == (0, 0, 1)


# ── troubles ──


async def test_a_job_that_is_refused_is_told_and_not_tried_again_for_that_minute(
    world: ScheduleWorld,
) -> None:
    schedule = await world.add("0 * * * *")
    world.images = ImageRules(deny=("*",))
    await world.restart()
    await world.sleep_until(61)
    row = await world.read(schedule)
    assert (row.fired, row.missed, row.since) == (0, 1, BEGIN + HOUR)
    assert row.trouble is not None
    assert row.trouble.code == "spec_refused"
    world.images = ImageRules()
    await world.restart()
    await world.sleep_until(121)
    row = await world.read(schedule)
    assert (row.fired, row.missed, row.trouble) == (1, 1, None)


async def test_a_row_whose_cron_cannot_be_read_ends_no_other_and_not_the_daemon(world: ScheduleWorld) -> None:
    broken, sound = await world.add(name="broken"), await world.add(name="sound")
    await world.store.change_schedule(broken, ANN, lambda found: (replace(found, cron="when it suits"), {}))
    with structlog.testing.capture_logs() as lines:
        await world.restart()
        await world.sleep_until(60.1)
    assert await world.counts(sound) == (1, 0, 0)
    told = [line for line in lines if line.get("schedule") == broken]
    assert {(line["event"], line["log_level"]) for line in told} == {("schedule.broke", "error")}
    assert len(told) <= HOUR / BROKEN_SECONDS + 2
    shown = show_schedule(await world.read(broken), world.clock.now())
    assert shown["next"] == []
    assert "cron_unreadable" in str(shown["trouble"])


async def test_a_store_that_is_down_for_a_while_costs_no_minute(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")
    await world.sleep_until(59.9)
    world.fault = lambda step: StoreUnavailableError("the disk is full")
    await world.sleep_until(60.6)
    world.fault = lambda step: None
    await world.sleep_until(60.7)
    assert await world.counts(schedule) == (1, 0, 0)


async def test_a_defect_in_one_ends_no_other(world: ScheduleWorld) -> None:
    broken, sound = await world.add(name="broken"), await world.add(name="sound")
    world.files.kept[broken] = "{"
    await world.sleep_until(60.1)
    assert await world.counts(sound) == (1, 0, 0)
    row = await world.read(broken)
    assert row.trouble is not None
    assert row.trouble.code == "schedule_file_missing"

    def crash(step: str) -> Exception | None:
        return ValueError("a defect") if step == "schedule" and asyncio.current_task() is not test else None

    test = asyncio.current_task()
    await world.finish_all()
    world.fault = crash
    await world.sleep_until(120.1)
    world.fault = lambda step: None
    await world.sleep_until(120.6)
    assert await world.counts(sound) == (2, 0, 0)


async def test_a_function_that_is_gone_is_told(world: ScheduleWorld) -> None:
    schedule = await world.add_function()
    world.functions.known.clear()
    await world.sleep_until(60.1)
    row = await world.read(schedule)
    assert row.trouble is not None
    assert (row.trouble.code, row.missed) == ("chute_not_found", 1)


async def test_a_pause_that_comes_between_the_look_and_the_write_wins(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")

    async def pause_before(step: str) -> None:
        if step == "accept":
            world.store.before = before
            await world.all.pause(ANN, schedule)

    before, world.store.before = world.store.before, pause_before
    await world.sleep_until(61)
    assert world.jobs() == []
    assert world.folders.records == {}
    assert await world.counts(schedule) == (0, 0, 0)


async def test_so_does_one_that_comes_before_a_minute_is_counted_as_missed(world: ScheduleWorld) -> None:
    schedule = await world.add("0 * * * *")
    await world.crash()
    await world.sleep_until(185)

    async def pause_before(step: str) -> None:
        if step == "change_schedule":
            world.store.before = before
            await world.all.pause(ANN, schedule)

    before, world.store.before = world.store.before, pause_before
    await world.start()
    await asyncio.sleep(10)
    assert (await world.read(schedule)).paused
    assert await world.counts(schedule) == (0, 0, 0)


async def test_health_counts_and_warns_once_the_first_is_a_minute_late(world: ScheduleWorld) -> None:
    await world.add("0 * * * *")
    probe = schedules_probe(world.all.timetable)
    await world.sleep_until(60.1)
    found = await probe()
    assert found.state is CheckState.OK
    assert "1 are waited for; since the start 1 jobs were started" in found.evidence
    await world.finish_all()
    world.fault = lambda step: StoreUnavailableError("the disk is full")
    await world.sleep_until(119.99)
    world.clock.started += 120  # and nobody has looked yet
    late = await probe()
    assert (late.state, late.remedy) == (CheckState.WARN, SEE_THE_DISK)
    assert late.evidence.startswith("they are 119 s late; 1 are waited for; ")


async def test_what_is_due_and_was_not_dealt_with_is_overdue(world: ScheduleWorld) -> None:
    await world.add("0 * * * *")
    await world.add("0 12 * * *", name="noon")
    await asyncio.sleep(1)
    assert (world.all.timetable.count, world.all.timetable.overdue) == (2, 0)
    world.clock.started += HOUR  # and nobody has looked yet
    assert world.all.timetable.overdue == 1


async def test_health_counts_each_end_of_a_minute_as_what_it_is(world: ScheduleWorld) -> None:
    tally = world.all.timetable.tally
    tally.fired, tally.skipped, tally.missed, tally.failed = 1, 2, 3, 4
    found = await schedules_probe(world.all.timetable)()
    assert found == Finding(
        CheckState.OK,
        "0 are waited for; since the start 1 jobs were started, 2 minutes skipped, 3 missed, 4 starts refused",
    )


async def test_health_warns_of_changes_that_nobody_has_read_for_a_minute(world: ScheduleWorld) -> None:
    probe = schedules_probe(world.all.timetable)
    world.fault = lambda step: StoreUnavailableError("locked") if step == "timed_schedules" else None
    await world.add("@yearly")
    await asyncio.sleep(59)
    assert (await probe()).state is CheckState.OK
    await asyncio.sleep(2)
    assert (await probe()).state is CheckState.WARN
    world.fault = lambda step: None
    await asyncio.sleep(3)
    assert (await probe()).state is CheckState.OK


async def test_health_warns_of_those_that_a_clock_which_was_set_back_has_silenced(
    world: ScheduleWorld,
) -> None:
    await world.add("* * * * *")
    await world.sleep_until(1.5)
    probe = schedules_probe(world.all.timetable)
    world.clock.started -= MINUTE
    await asyncio.sleep(6)
    assert (await probe()).state is CheckState.OK, "a little is no trouble"
    world.clock.started -= 29 * MINUTE
    await asyncio.sleep(6)
    found = await probe()
    assert (found.state, found.remedy) == (CheckState.WARN, SEE_THE_CLOCK)
    assert "silent for" in found.evidence


# ── what people ask for ──


async def test_nothing_is_due_of_one_that_is_paused_and_what_passed_is_not_made_up_for(
    world: ScheduleWorld,
) -> None:
    schedule = await world.add("* * * * *", catch_up=True)
    await world.all.pause(ANN, schedule)
    await world.sleep_until(10.5)
    assert world.jobs() == []
    await world.all.resume(ANN, schedule)
    await world.sleep_until(10.9)
    assert world.jobs() == []
    await world.sleep_until(11.1)
    assert world.minutes() == [11]
    assert await world.counts(schedule) == (1, 0, 0)


async def test_one_that_is_removed_fires_no_more_and_leaves_no_file(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.all.remove(ANN, schedule)
    await world.sleep_until(2)
    assert (world.jobs(), world.files.kept) == ([], {})
    with pytest.raises(NoSuchScheduleError):
        await world.all.find(ANN, schedule)


async def test_one_of_a_decorator_is_not_removed_by_itself(world: ScheduleWorld) -> None:
    schedule = await world.add_function()
    with pytest.raises(ScheduleOfChuteError):
        await world.all.remove(ANN, schedule)
    assert (await world.read(schedule)).id == schedule


async def test_a_run_with_the_same_key_is_the_first_one(world: ScheduleWorld) -> None:
    schedule = await world.add()
    first = await world.all.run(ANN, schedule, "key")
    again = await world.all.run(ANN, schedule, "key")
    assert (again.is_replay, again.job.id) == (True, first.job.id)
    await world.all.remove(ANN, schedule)
    after = await world.all.run(ANN, schedule, "key")
    assert (after.is_replay, after.job.id) == (True, first.job.id)


async def test_another_principals_does_not_exist(world: ScheduleWorld) -> None:
    schedule, bob = await world.add(), Viewer("bob")
    for ask in (world.all.find, world.all.remove, world.all.pause, world.all.resume):
        with pytest.raises(NoSuchScheduleError):
            await ask(bob, schedule)
    for viewer in (bob, Viewer("root", sees_all=True)):  # what it makes is a job of its owner's
        with pytest.raises(NoSuchScheduleError):
            await world.all.run(viewer, schedule, None)


async def test_what_is_refused_leaves_nothing(world: ScheduleWorld) -> None:
    await world.add(name="taken")
    kept = set(world.files.kept)
    with pytest.raises(ScheduleNameTakenError):
        await world.add(name="taken")
    body = {"name": "a/b", "cron": "61 * * * *", "spec": {"image": "", "cpu": 1}, "catchup": True}
    with pytest.raises(ScheduleRefusedError) as refused:
        await world.all.add(ANN, body)
    fields = {fault.field for fault in refused.value.faults}
    assert fields == {"name", "cron", "catchup", "spec.image", "spec.cpu"}
    assert set(world.files.kept) == kept


async def test_the_jobs_of_one_that_is_removed_go_on(world: ScheduleWorld) -> None:
    schedule = await world.add("* * * * *")
    await world.sleep_until(1.1)
    await world.all.remove(ANN, schedule)
    assert [job.phase for job in world.jobs()] == [Phase.QUEUED]
