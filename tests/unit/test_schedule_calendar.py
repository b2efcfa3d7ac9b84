"""Whose schedule is next among those that are due."""

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.schedules.calendar import Calendar

DATES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5).map(float), st.integers(0, 99).map(str)))


def test_nothing_is_due_of_an_empty_one() -> None:
    assert (Calendar().first(), Calendar().pop_due(1e9)) == (None, None)


def test_owners_take_turns_and_each_ones_come_by_their_time() -> None:
    calendar = Calendar([("ann", 2.0, "a2"), ("ann", 1.0, "a1"), ("ann", 3.0, "a3"), ("bob", 3.0, "b")])
    assert [calendar.pop_due(3.0) for _ in range(5)] == ["a1", "b", "a2", "a3", None]


@given(DATES, st.integers(0, 5).map(float))
def test_all_that_are_due_leave_it_and_no_other(dates: list[tuple[str, float, str]], now: float) -> None:
    calendar = Calendar(dates)
    left = []
    while (found := calendar.pop_due(now)) is not None:
        left.append(found)
    assert sorted(left) == sorted(which for _, when, which in dates if when <= now)
    assert calendar.first() == min((when for _, when, _ in dates if when > now), default=None)
