"""The promises of interfaces.ScheduleStore, and of a firing that is accepted with its job, for the store on disk and for its twin."""

from dataclasses import replace

import pytest

from agent.core.chute import MOST_SCHEDULES, TOO_MANY_SCHEDULES, Described, VersionState
from agent.core.job import FiredBy, Job, Kind, NewEvent
from agent.core.schedule import (
    Firing,
    OfContainer,
    OfFunction,
    Schedule,
    ScheduleTrouble,
    Started,
    Timed,
    id_of_function,
    pause,
)
from agent.errors import Phase
from agent.interfaces import (
    BodyConflictError,
    ChuteInUseError,
    JobQuery,
    NewJob,
    NoSuchScheduleError,
    QueueFullError,
    ScheduleNameTakenError,
    ScheduleQuery,
    StaleError,
    TooManySchedulesError,
)
from agent.spec import parse_spec
from tests.contract.store_values import ANN, BOB, PLENTY, ROOT, TestedStore, WallClock
from tests.contract.test_store_chutes import a_job_of, version
from tests.fakes.schedule_store import without_spec
from tests.unit.chute_values import a_job, good

DUE = 3_600.0


def a_schedule(number: int = 1, owner: str = "ann", name: str | None = None) -> Schedule:
    return Schedule(
        id=f"0190b6a0-0000-7000-8000-{number:012d}",
        owner=owner,
        name=name or f"s{number}",
        what=OfContainer({"image": "alpine", "secrets": {"A": "***"}}),
        cron="0 * * * *",
        created_at=10.5,
        since=10.5,
        seed=f"0190b6a0-0000-7000-8000-{number:012d}",
    )


def as_listed(*schedules: Schedule) -> list[Schedule]:
    """A page has no specs of container jobs, each of which may be a megabyte."""
    return [without_spec(schedule) for schedule in schedules]


def a_firing_job(schedule: Schedule, firing: Firing, job_id: str = "j", key: str | None = None) -> NewJob:
    spec = parse_spec({"image": "alpine"})
    return NewJob(job_id, schedule.owner, Kind.CONTAINER, spec, 20.0, key, "digest", firing=firing)


async def added(store: TestedStore, number: int = 1, owner: str = "ann", name: str | None = None) -> Schedule:
    return await store.add_schedule(a_schedule(number, owner, name))


async def read(store: TestedStore, schedule: Schedule) -> Schedule:
    found = await store.schedule(schedule.id, ROOT)
    assert found is not None
    return found


async def changed(store: TestedStore, to: Schedule, **told: NewEvent) -> Schedule:
    found = await store.change_schedule(to.id, ROOT, lambda _: (to, told))
    assert found is not None
    return found


# ── rows ──


async def test_a_schedule_is_kept_as_it_is(store: TestedStore) -> None:
    schedule = await added(store)
    assert replace(schedule, seq=0) == a_schedule()
    full = replace(
        schedule,
        cron="@daily",
        since=99.5,
        paused=True,
        catch_up=True,
        seed="another",
        last=Started(DUE, "job", 3_601.5),
        fired=1,
        skipped=2,
        missed=3,
        trouble=ScheduleTrouble("queue_full", "ä", "Wait.", 5.5),
        told_job="another",
    )
    assert await changed(store, full) == replace(full, version=1)
    assert await read(store, schedule) == replace(full, version=1)


async def test_a_schedule_that_is_left_as_it_is_is_no_other_version(store: TestedStore) -> None:
    schedule = await added(store)
    assert await changed(store, schedule) == schedule
    assert (await read(store, schedule)).version == 0


async def test_a_schedule_is_its_owners_alone(store: TestedStore) -> None:
    schedule = await added(store)
    assert await store.schedule(schedule.id, BOB) is None
    assert await store.schedules(ScheduleQuery(), BOB) == []
    assert await store.change_schedule(schedule.id, BOB, lambda found: (pause(found), {})) is None
    assert not await store.remove_schedule(schedule.id, BOB)
    assert await read(store, schedule) == schedule
    assert await store.schedules(ScheduleQuery(), ROOT) == as_listed(schedule)


async def test_a_name_is_one_schedules_of_its_owner(store: TestedStore) -> None:
    first = await added(store, 1, name="nightly")
    with pytest.raises(ScheduleNameTakenError):
        await added(store, 2, name="nightly")
    await added(store, 3, "bob", "nightly")
    assert await store.remove_schedule(first.id, ANN)
    await added(store, 2, name="nightly")


async def test_more_than_may_be_are_refused(store: TestedStore) -> None:
    for number in range(MOST_SCHEDULES):
        await added(store, number)
    with pytest.raises(TooManySchedulesError):
        await added(store, MOST_SCHEDULES)
    await added(store, MOST_SCHEDULES, "bob")


async def test_lists_are_pages_by_the_newest_and_can_be_asked_for_one(store: TestedStore) -> None:
    rows = [await added(store, number) for number in range(1, 5)]
    first = await store.schedules(ScheduleQuery(limit=3), ANN)
    assert first == as_listed(*rows[:0:-1])
    assert await store.schedules(ScheduleQuery(before_seq=first[-1].seq, limit=3), ANN) == as_listed(rows[0])
    assert await store.schedules(ScheduleQuery(name="s2"), ANN) == as_listed(rows[1])
    assert await store.schedules(ScheduleQuery(id_prefix=rows[2].id), ANN) == as_listed(rows[2])
    assert await store.schedules(ScheduleQuery(id_prefix="%"), ANN) == []


async def test_those_that_are_paused_are_waited_for_by_nobody(store: TestedStore) -> None:
    one, other = await added(store, 1), await added(store, 2)
    await changed(store, pause(other))
    assert await store.timed_schedules() == [Timed(one.id, "ann", one.cron, one.since)]
    assert await store.schedule_ids() == {one.id, other.id}


async def test_a_row_and_the_event_of_a_job_are_written_together(store: TestedStore) -> None:
    schedule = await added(store)
    job = (await store.accept(a_firing_job(schedule, Firing(schedule.id)), PLENTY)).job
    row = await read(store, schedule)
    told = NewEvent("schedule.skipped", {"due": "x"})
    await store.change_schedule(
        row.id, ROOT, lambda _: (replace(row, skipped=1), {job.id: told, "gone": told})
    )
    events = await store.events(ANN, 0, job.id, 99)
    assert (events[-1].type, events[-1].n, events[-1].data) == ("schedule.skipped", 2, {"due": "x"})


# ── firings ──


async def fired(store: TestedStore, schedule: Schedule, due: float = DUE, job_id: str = "j") -> Job:
    firing = Firing(schedule.id, due, schedule.version, schedule.seq)
    return (await store.accept(a_firing_job(schedule, firing, job_id), PLENTY)).job


async def test_a_firing_is_a_job_and_the_row_that_says_so(store: TestedStore) -> None:
    schedule = await added(store)
    job = await fired(store, schedule)
    assert job.fired_by == FiredBy(schedule.id, DUE)
    assert (await store.read(job.id)) == job
    assert await read(store, schedule) == replace(
        schedule, version=1, since=DUE, last=Started(DUE, job.id, 20.0), fired=1
    )


async def test_a_row_that_is_another_version_or_paused_fires_nothing(store: TestedStore) -> None:
    schedule = await added(store)
    await changed(store, replace(schedule, fired=9))
    with pytest.raises(StaleError):
        await fired(store, schedule)
    paused = await changed(store, pause(await read(store, schedule)))
    with pytest.raises(StaleError):
        await fired(store, paused)
    assert await store.job_ids() == set()


async def test_a_schedule_that_is_gone_or_anothers_fires_nothing(store: TestedStore) -> None:
    schedule = await added(store)
    with pytest.raises(NoSuchScheduleError):
        await store.accept(a_firing_job(replace(schedule, owner="bob"), Firing(schedule.id)), PLENTY)
    await store.remove_schedule(schedule.id, ANN)
    for firing in (Firing(schedule.id), Firing(schedule.id, DUE, 0, schedule.seq)):
        with pytest.raises(NoSuchScheduleError):
            await store.accept(a_firing_job(schedule, firing), PLENTY)
    assert await store.job_ids() == set()


async def test_a_job_that_is_refused_leaves_the_row_as_it_was(store: TestedStore) -> None:
    schedule = await added(store)
    with pytest.raises(QueueFullError):
        await store.accept(a_firing_job(schedule, Firing(schedule.id, DUE, 0, schedule.seq)), 0)
    await store.accept(
        replace(a_firing_job(schedule, Firing(schedule.id)), firing=None, body_digest="x"), PLENTY
    )
    with pytest.raises(BodyConflictError):
        await store.accept(a_firing_job(schedule, Firing(schedule.id, DUE, 0, schedule.seq)), PLENTY)
    assert await read(store, schedule) == schedule


async def test_a_minute_has_one_job_however_often_it_fires(store: TestedStore) -> None:
    schedule = await added(store)
    job = await fired(store, schedule)
    again = await store.accept(
        a_firing_job(schedule, Firing(schedule.id, DUE, 1, schedule.seq), job.id), PLENTY
    )
    assert (again.is_replay, again.job) == (True, job)
    assert (await read(store, schedule)).since == DUE


async def test_a_minute_whose_job_is_there_without_its_row_knowing_is_dealt_with(store: TestedStore) -> None:
    # As after a repair: the job's row was made anew of its record, the schedule's is an older one.
    schedule = await added(store)
    job = (await store.accept(replace(a_firing_job(schedule, Firing(schedule.id)), firing=None), PLENTY)).job
    assert await fired(store, schedule) == job
    assert (await read(store, schedule)).since == DUE


async def test_a_row_that_was_removed_and_is_there_again_fires_nothing_by_a_look_at_the_old_one(
    store: TestedStore,
) -> None:
    old = await added(store)
    await store.remove_schedule(old.id, ANN)
    fresh = await added(store)
    assert (fresh.id, fresh.version) == (old.id, old.version)
    with pytest.raises(StaleError):
        await fired(store, old)


async def test_of_a_name_that_others_have_too_ones_own_is_found(store: TestedStore) -> None:
    own, theirs = await added(store, 1, "root", "nightly"), await added(store, 2, "bob", "nightly")
    query = ScheduleQuery(name="nightly")
    assert await store.schedules(query, ROOT) == as_listed(own)
    assert await store.schedules(query, ANN) == []
    await store.remove_schedule(own.id, ROOT)
    other = await added(store, 3, "ann", "nightly")
    assert await store.schedules(query, ROOT) == as_listed(other, theirs)


async def test_the_oldest_of_its_jobs_that_has_not_ended_is_found(store: TestedStore) -> None:
    one, other = await added(store, 1), await added(store, 2)
    assert await store.unfinished_of_schedule(one.id) is None
    jobs = [(await store.accept(a_firing_job(one, Firing(one.id), name), PLENTY)).job for name in "abc"]
    await store.accept(a_firing_job(other, Firing(other.id), "d"), PLENTY)
    await store.save(replace(jobs[0], phase=Phase.FINISHED, finished_at=5.0))
    assert await store.unfinished_of_schedule(one.id) == "b"


async def test_a_run_by_hand_is_the_last_job_and_no_minute_also_of_one_that_is_paused(
    store: TestedStore,
) -> None:
    schedule = await changed(store, pause(await added(store)))
    new = a_firing_job(schedule, Firing(schedule.id), key="k")
    job = (await store.accept(new, PLENTY)).job
    row = await read(store, schedule)
    assert row == replace(schedule, version=2, last=Started(None, job.id, 20.0))
    assert (await store.accept(replace(new, id="other"), PLENTY)).is_replay
    assert await read(store, schedule) == row


async def test_jobs_are_listed_by_the_schedule_that_started_them(store: TestedStore) -> None:
    one, other = await added(store, 1), await added(store, 2)
    jobs = [(await store.accept(a_firing_job(one, Firing(one.id), name), PLENTY)).job for name in "abc"]
    await store.accept(a_firing_job(other, Firing(other.id), "d"), PLENTY)
    await store.save(replace(jobs[0], phase=Phase.FINISHED, finished_at=5.0))

    async def names(query: JobQuery) -> str:
        return "".join([job.id for job in await store.page(query, ANN)])

    assert await names(JobQuery(schedule=one.id)) == "cba"
    assert await names(JobQuery(schedule=one.id, limit=1, before_seq=jobs[2].seq)) == "b"
    assert await names(JobQuery(schedule=one.id, phases=(Phase.FINISHED,))) == "a"
    assert await store.page(JobQuery(schedule=one.id), BOB) == []
    assert len(await store.page(JobQuery(schedule=one.id), ROOT)) == 3
    await store.forget("a", ANN)
    assert await names(JobQuery(schedule=one.id)) == "cb"


# ── of chutes ──


async def settled(
    store: TestedStore, number: int, *jobs: dict[str, object], owner: str = "ann"
) -> VersionState:
    await store.add_version(version(number, owner))
    found = await store.settle_version(version(number).id, Described(good(*jobs)))
    assert found is not None
    return found.state


NIGHTLY = id_of_function("ann", "trainer", "nightly")


async def test_a_deploys_schedules_are_there_with_its_version(store: TestedStore, clock: WallClock) -> None:
    await settled(store, 1, a_job("nightly", schedule="@daily"), a_job("other"))
    (found,) = await store.schedules(ScheduleQuery(), ANN)
    assert (found.id, found.what) == (NIGHTLY, OfFunction("trainer", "nightly"))
    assert (found.since, found.created_at) == (clock.now(), clock.now())
    assert await store.schedule_ids() == set()


async def test_a_later_deploy_keeps_changes_and_removes(store: TestedStore, clock: WallClock) -> None:
    daily = [a_job(name, schedule="@daily") for name in ("nightly", "changes", "goes")]
    await settled(store, 1, *daily)
    ids = {name: id_of_function("ann", "trainer", name) for name in ("nightly", "changes", "goes", "comes")}
    before = await store.schedule(NIGHTLY, ANN)
    clock.seconds += 100
    jobs = (daily[0], a_job("changes", schedule="@hourly"), a_job("goes"), a_job("comes", schedule="@daily"))
    await settled(store, 2, *jobs)
    assert await store.schedule(NIGHTLY, ANN) == before
    assert await store.schedule(ids["goes"], ANN) is None
    since = [(await store.schedule(ids[name], ANN)) for name in ("changes", "comes")]
    assert [found and found.since for found in since] == [clock.now(), clock.now()]


async def test_a_deploy_that_is_refused_changes_no_schedule(store: TestedStore) -> None:
    await settled(store, 1, a_job("nightly", schedule="@daily"))
    before = await store.schedules(ScheduleQuery(), ANN)
    await store.add_version(version(2))
    await store.settle_version(version(2).id, Described(None))
    assert await store.schedules(ScheduleQuery(), ANN) == before


async def test_a_deploy_that_would_have_too_many_is_refused(store: TestedStore) -> None:
    for number in range(1, MOST_SCHEDULES):
        await added(store, number)
    two = (a_job("a", schedule="@daily"), a_job("b", schedule="@daily"))
    assert await settled(store, 1, *two[:1]) is VersionState.ACTIVE
    assert await settled(store, 2, *two) is VersionState.REFUSED
    refused = await store.version(version(2).id, ANN)
    assert refused is not None
    assert refused.faults == (TOO_MANY_SCHEDULES,)
    # Its own, which it replaces, count once.
    assert await settled(store, 3, *two[:1]) is VersionState.ACTIVE


async def test_a_chute_that_is_removed_takes_its_schedules_with_it(store: TestedStore) -> None:
    own = await added(store)
    await settled(store, 1, a_job("nightly", schedule="@daily"))
    chute = await store.chute("trainer", ANN)
    assert chute is not None
    job = await a_job_of(store, chute)
    with pytest.raises(ChuteInUseError):
        await store.remove_chute(chute)
    assert await store.schedule(NIGHTLY, ANN) is not None
    await store.save(replace(job, phase=Phase.FINISHED, finished_at=5.0))
    await store.remove_chute(chute)
    assert await store.schedules(ScheduleQuery(), ANN) == as_listed(own)
