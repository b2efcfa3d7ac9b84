"""Five fields of cron: what is refused and in which words, and the minutes that they name."""

import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.spec import (
    CronUnreadableError,
    count_between,
    find_cron_faults,
    latest_until,
    next_after,
    next_few,
    tidy_cron,
)
from tests.tries import tries

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()
MINUTE, DAY = 60.0, 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def faults_of(text: object) -> list[str]:
    return [fault.code for fault in find_cron_faults(text, "cron")]


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "0 3 * * *",
        "*/5 1-4,7 * JAN mon",
        "0  3\t* * *",
        "0 0 29 2 *",
        "59 23 31 12 7",
        "0 0 31 2 MON",  # a day of the month, or a Monday
        *("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@Daily"),
    ],
)
def test_a_schedule_that_comes_is_taken(text: str) -> None:
    assert faults_of(text) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "* * * *", "* * * * * *", "every day", "@reboot", "@", "@every 5m", "\n"),
        *("60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "-1 * * * *"),
        *(
            "5-1 * * * *",
            "*/0 * * * *",
            "1-2-3 * * * *",
            "5/ * * * *",
            ", * * * *",
            "1,,2 * * * *",
            "- * * * *",
        ),
        *(
            "0 0 L * *",
            "0 0 LW * *",
            "0 0 * * 5L",
            "0 0 * * MON#2",
            "0 0 ? * *",
            "0 0 * FOO *",
            "JAN * * * *",
        ),
        *("٣ * * * *", "1\0 * * * *", "0.5 * * * *", "+1 * * * *"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    assert set(faults_of(text)) == {"cron_invalid"}


def test_every_bad_field_is_named_at_once() -> None:
    faults = find_cron_faults("61 25 * FOO 9", "jobs.a.schedule")
    assert {fault.field for fault in faults} == {"jobs.a.schedule"}
    assert [fault.message.split(" is no ")[1] for fault in faults] == [
        "minute",
        "hour",
        "month",
        "day of the week",
    ]


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30-31 FEB *", "* * 31 2,4,6,9,11 *"])
def test_a_day_that_no_month_has_is_told_as_that(text: str) -> None:
    assert faults_of(text) == ["cron_never"]


@pytest.mark.parametrize("text", ["0 0 29 2 */7", "0 0 29 FEB */6", "0 0 29 2 */8"])
def test_what_leaves_more_than_eight_years_between_two_minutes_is_refused_for_what_it_costs(
    text: str,
) -> None:
    assert faults_of(text) == ["cron_never"]
    assert faults_of("0 0 29 2 *") == []


@pytest.mark.parametrize("value", [None, 5, ["* * * * *"], {}, True])
def test_what_is_no_text_is_refused(value: object) -> None:
    assert faults_of(value) == ["wrong_type"]


def test_a_long_text_is_refused_before_it_is_read() -> None:
    assert faults_of("0" * 201) == ["too_long"]
    assert faults_of(",".join(["0"] * 90) + " * * * *") == []


NUMBERS = st.integers(0, 60).map(str)
ONES = NUMBERS | st.sampled_from(["JAN", "feb", "29", "31", "SUN", "mon", "7", "*", "L", ""])
RANGES = st.builds("{}-{}".format, NUMBERS, NUMBERS) | ONES
STEPS = st.builds("{}/{}".format, RANGES, NUMBERS) | RANGES
PARTS = st.lists(STEPS, min_size=1, max_size=3).map(",".join) | st.just("*")
FIVE_FIELDS = st.lists(PARTS, min_size=5, max_size=5).map(" ".join)
SOUND_FIELDS = st.tuples(
    *(
        st.just("*")
        | st.integers(first, last).map(str)
        | st.builds("*/{}".format, st.integers(1, last))
        | st.builds("{},{}".format, st.integers(first, last), st.integers(first, last))
        for first, last in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    )
).map(" ".join)


@settings(deadline=None)
@given(st.text(max_size=200) | FIVE_FIELDS | SOUND_FIELDS)
def test_any_text_is_judged_in_a_moment_and_what_is_taken_has_a_next_minute(text: str) -> None:
    began = time.process_time()
    if not find_cron_faults(text, "cron"):
        first = next_after(text, NOON)
        assert first > NOON
        assert latest_until(text, first) == first
    assert time.process_time() - began < 0.5


@settings(deadline=None)
@given(SOUND_FIELDS)
def test_fields_in_their_ranges_are_refused_only_for_a_day_that_never_or_rarely_comes(text: str) -> None:
    assert set(faults_of(text)) <= {"cron_never"}


def test_times_are_utc_and_strictly_after() -> None:
    assert next_after("0 3 * * *", at("2026-03-01T02:59:59.999")) == at("2026-03-01T03:00")
    assert next_after("0 3 * * *", at("2026-03-01T03:00")) == at("2026-03-02T03:00")
    assert latest_until("0 3 * * *", at("2026-03-01T03:00")) == at("2026-03-01T03:00")
    assert latest_until("0 3 * * *", at("2026-03-01T02:59:59.999")) == at("2026-02-28T03:00")


def test_a_leap_day_comes_every_four_years() -> None:
    assert next_few("@yearly", NOON, 2) == (at("2027-01-01"), at("2028-01-01"))
    assert next_few("0 0 29 2 *", NOON, 2) == (at("2028-02-29"), at("2032-02-29"))


def test_a_day_of_the_month_or_of_the_week_is_enough_where_both_are_told() -> None:
    assert next_few("0 0 13 * FRI", NOON, 2) == (at("2026-03-06"), at("2026-03-13"))
    assert next_few("0 0 */2 * MON", NOON, 1) == (at("2026-03-09"),)  # with a star, both must hold


SOME_CRONS = st.sampled_from(
    [
        "* * * * *",
        "*/7 * * * *",
        "0 3 * * *",
        "30 8-10 * * MON-FRI",
        "0 0 1 * *",
        "5,35 */6 13 * 5",
        "@hourly",
    ]
)


@settings(deadline=None)
@given(SOME_CRONS, st.floats(0, 3 * DAY), st.floats(0, 400_000))
def test_what_is_counted_is_what_comes(cron: str, begin: float, seconds: float) -> None:
    after, until = NOON + begin, NOON + begin + seconds
    came, moment = 0, next_after(cron, after)
    while moment <= until:
        came, moment = came + 1, next_after(cron, moment)
    assert count_between(cron, after, until) == came


@given(SOME_CRONS, st.floats(0, 400 * DAY))
def test_no_minute_lies_between_the_latest_and_the_next(cron: str, offset: float) -> None:
    now = NOON + offset
    latest, following = latest_until(cron, now), next_after(cron, now)
    assert latest <= now < following
    assert next_after(cron, latest) == following


def test_of_many_years_the_last_one_is_counted_and_that_takes_no_time() -> None:
    began = time.process_time()
    assert 366 * 1440 <= count_between("* * * * *", 0.0, NOON) <= 367 * 1440
    assert time.process_time() - began < 0.5


def test_white_space_is_kept_as_single_spaces() -> None:
    assert tidy_cron(" 0  3\n* * *\t") == "0 3 * * *"


CRON_SIGNS = st.text("0123456789*/,-#LW @abJANMON\n", max_size=30)


@settings(max_examples=tries(300), deadline=None)
@example("0" * 5_000 + " * * * *")
@example("")
@given(CRON_SIGNS | st.text(max_size=30))
def test_a_damaged_text_is_read_or_told_to_be_unreadable(text: str) -> None:
    for read in (
        lambda: next_few(text, NOON, 1),
        lambda: latest_until(text, NOON),
        lambda: count_between(text, NOON, NOON + DAY),
    ):
        with suppress(CronUnreadableError):
            read()
