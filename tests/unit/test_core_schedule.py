"""What is due of a schedule, whatever the clock did; what becomes of its row; what a deploy makes of a chute's schedules."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.chute import Version, VersionState
from agent.core.schedule import (
    AHEAD_SECONDS,
    Ahead,
    Due,
    Firing,
    Missed,
    OfContainer,
    OfFunction,
    Schedule,
    Started,
    Timed,
    Wait,
    begin_anew,
    fire,
    look,
    miss,
    next_minutes,
    next_of,
    of_version,
    pause,
    resume,
    skip,
)
from agent.spec import Entry, count_between
from tests.unit.chute_values import a_job, good

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3_600.0, 86_400.0


def a_schedule(cron: str = "0 * * * *", since: float = NOON, *, catch_up: bool = False) -> Schedule:
    return Schedule(
        id="0190aaaa-0000-7000-8000-000000000001",
        owner="ann",
        name="nightly",
        what=OfContainer({}),
        cron=cron,
        created_at=NOON,
        since=since,
        seed="0190aaaa-0000-7000-8000-000000000002",
        catch_up=catch_up,
    )


def test_nothing_is_due_before_its_minute_and_then_it_is() -> None:
    assert look(a_schedule(), NOON + 1) == Wait(NOON + HOUR)
    assert look(a_schedule(), NOON + HOUR - 0.001) == Wait(NOON + HOUR)
    assert look(a_schedule(), NOON + HOUR) == Due(NOON + HOUR)


def test_the_minute_in_which_a_schedule_is_made_is_not_due() -> None:
    assert look(a_schedule(), NOON) == Wait(NOON + HOUR)
    assert look(a_schedule(since=NOON + 5), NOON + 30) == Wait(NOON + HOUR)


def test_a_minute_is_due_for_sixty_seconds_and_then_it_was_missed() -> None:
    assert look(a_schedule(), NOON + HOUR + 60) == Due(NOON + HOUR)
    assert look(a_schedule(), NOON + HOUR + 60.001) == Missed(NOON + HOUR, 1)


def test_of_many_minutes_that_passed_the_latest_alone_can_be_due() -> None:
    schedule, now = a_schedule(), NOON + 5 * HOUR + 30
    found = look(schedule, now)
    assert found == Missed(NOON + 4 * HOUR, 4)
    assert look(miss(schedule, found), now) == Due(NOON + 5 * HOUR)
    assert look(a_schedule(), NOON + 5 * HOUR + 120) == Missed(NOON + 5 * HOUR, 5)


def test_who_catches_up_gets_one_job_for_the_latest_minute() -> None:
    schedule, now = a_schedule(catch_up=True), NOON + 5.5 * HOUR
    found = look(schedule, now)
    assert found == Missed(NOON + 4 * HOUR, 4)
    assert look(miss(schedule, found), now) == Due(NOON + 5 * HOUR)


def test_a_clock_that_is_set_back_a_little_makes_nothing_due_again() -> None:
    fired = a_schedule(since=NOON)
    for back in (1, 59, 61, HOUR - 1):
        assert look(fired, NOON - back) == Wait(NOON + HOUR)


def test_a_row_of_a_time_that_is_an_hour_ahead_begins_anew_with_other_jobs() -> None:
    ahead = a_schedule(since=NOON + AHEAD_SECONDS)
    assert look(ahead, NOON) == Ahead()
    anew = begin_anew(ahead, NOON)
    assert look(anew, NOON) == Wait(NOON + HOUR)
    assert anew.job_of(NOON + HOUR) != ahead.job_of(NOON + HOUR)
    assert next_of(Timed(ahead.id, "ann", ahead.cron, ahead.since), NOON) == NOON


def test_every_minute_has_one_job_and_nobody_can_guess_it_from_what_is_shown() -> None:
    schedule = a_schedule()
    assert schedule.job_of(NOON) == schedule.job_of(NOON)
    assert schedule.job_of(NOON) != schedule.job_of(NOON + 60)
    assert schedule.job_of(NOON) != replace(schedule, seed=schedule.id).job_of(NOON)


def test_each_due_minute_ends_as_fired_skipped_or_missed() -> None:
    due = Due(NOON + 5 * HOUR)
    fired = fire(a_schedule(), Firing("s", due.minute), "job", NOON)
    skipped, missed = skip(a_schedule(), due, "before"), miss(a_schedule(), Missed(due.minute, 5))
    counts = [(each.fired, each.skipped, each.missed) for each in (fired, skipped, missed)]
    assert counts == [(1, 0, 0), (0, 1, 0), (0, 0, 5)]
    assert {each.since for each in (fired, skipped, missed)} == {due.minute}
    assert fired.last == Started(due.minute, "job", NOON)


def test_a_run_by_hand_is_no_minutes() -> None:
    ran = fire(a_schedule(), Firing("s"), "job", NOON + 5)
    assert ran == replace(a_schedule(), last=Started(None, "job", NOON + 5))


def test_what_passed_in_a_pause_is_not_made_up_for() -> None:
    paused = pause(a_schedule(catch_up=True))
    assert next_minutes(paused, NOON, 5) == ()
    resumed = resume(paused, NOON + 5.5 * HOUR)
    assert look(resumed, NOON + 5.5 * HOUR) == Wait(NOON + 6 * HOUR)
    assert resume(resumed, NOON + 9 * HOUR) == resumed


def test_a_pause_that_ends_before_what_has_fired_makes_nothing_due_again() -> None:
    fired = pause(a_schedule(since=NOON + HOUR))
    assert resume(fired, NOON + 60).since == NOON + HOUR
    anew = resume(fired, NOON + HOUR - AHEAD_SECONDS)
    assert (anew.since, anew.seed != fired.seed) == (NOON + HOUR - AHEAD_SECONDS, True)


CLOCKS = st.lists(
    st.tuples(
        st.floats(0.5, 400), st.sampled_from([0.0] * 6 + [-HOUR / 40, -61.0, -5.0, 61.0, HOUR, 3 * HOUR])
    ),
    min_size=1,
    max_size=40,
)


CRONS = st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *"])


@given(steps=CLOCKS, cron=CRONS, catch_up=st.booleans())
def test_whatever_the_clock_does_no_minute_is_dealt_with_twice_and_none_is_lost(
    *, steps: list[tuple[float, float]], cron: str, catch_up: bool
) -> None:
    schedule, now, minutes = a_schedule(cron, catch_up=catch_up), NOON, list[float]()
    latest = now
    for seconds, step in steps:
        now += seconds + step
        while not isinstance(found := look(schedule, now), Wait):
            assert not isinstance(found, Ahead)
            if isinstance(found, Due):
                assert catch_up or now - found.minute <= 60
                firing = Firing(schedule.id, found.minute)
                schedule = fire(schedule, firing, schedule.job_of(found.minute), now)
                minutes.append(found.minute)
            else:
                schedule = miss(schedule, found)
        assert found.until > now
        latest = max(latest, now)
    assert minutes == sorted(set(minutes))
    assert schedule.fired == len(minutes)
    assert schedule.fired + schedule.missed == count_between(cron, NOON, latest)


# ── deploys ──


def version(number: int, *jobs: dict[str, object], catch_up: bool = False) -> Version:
    return Version(
        id=f"0190b6a0-0000-7000-8000-{number:012d}",
        owner="ann",
        digest=str(number),
        image="python",
        entry=Entry("main.py", "chute"),
        created_at=NOON,
        state=VersionState.ACTIVE,
        chute="trainer",
        number=number,
        manifest=good(*jobs),
        catch_up=catch_up,
    )


def followed(
    number: int, *jobs: dict[str, object], before: Sequence[Schedule] = (), now: float = NOON
) -> list[Schedule]:
    return list(of_version(version(number, *jobs), before, now))


def test_a_deploy_brings_the_schedules_of_its_functions() -> None:
    (nightly,) = followed(1, a_job("a"), a_job("nightly", schedule=" 0  3 * * *"))
    assert (nightly.name, nightly.cron, nightly.since) == ("trainer/nightly", "0 3 * * *", NOON)
    assert nightly.what == OfFunction("trainer", "nightly")


def test_a_deploy_leaves_what_goes_on_as_it_is() -> None:
    before = [
        replace(each, paused=True, since=NOON + 5, fired=3, seq=7)
        for each in followed(1, a_job("n", schedule="@daily"))
    ]
    assert followed(2, a_job("n", schedule="@daily"), before=before, now=NOON + HOUR) == before


def test_a_deploy_with_another_cron_begins_from_now_and_keeps_the_pause() -> None:
    before = [replace(each, paused=True, fired=3) for each in followed(1, a_job("n", schedule="@daily"))]
    (after,) = followed(2, a_job("n", schedule="@hourly"), before=before, now=NOON + HOUR)
    assert after == replace(before[0], cron="@hourly", since=NOON + HOUR)


def test_a_deploy_without_a_schedule_has_none() -> None:
    assert followed(2, a_job("n"), before=followed(1, a_job("n", schedule="@daily"))) == []


def test_catching_up_is_the_deploys_to_say() -> None:
    (found,) = of_version(version(1, a_job("n", schedule="@daily"), catch_up=True), (), NOON)
    assert found.catch_up


@pytest.mark.parametrize("others", [("bob", "trainer", "n"), ("ann", "other", "n"), ("ann", "trainer", "m")])
def test_a_function_has_one_schedule_whatever_the_version(others: tuple[str, str, str]) -> None:
    owner, chute, function = others
    (one,), (again,) = (followed(number, a_job("n", schedule="@daily")) for number in (1, 2))
    other = replace(version(3, a_job(function, schedule="@daily")), owner=owner, chute=chute)
    (another,) = of_version(other, (), NOON)
    assert one.id == again.id != another.id
