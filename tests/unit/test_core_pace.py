"""How many of a job's events are told: never more than the pace, and what is forgotten is missed by nobody."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.pace import BURST, MISSED_SECONDS, PER_SECOND, Pace, is_rested, pass_by

SPANS = st.lists(st.one_of(st.just(0.0), st.floats(0, 200), st.floats(0, 3 * MISSED_SECONDS)), max_size=200)


@given(SPANS)
def test_never_more_are_told_than_a_burst_and_one_a_second(spans: list[float]) -> None:
    pace, at, told = Pace(0.0), 0.0, 0
    for span in spans:
        at += span
        pace, missed = pass_by(pace, at)
        told += missed is not None
    assert told <= BURST + at * PER_SECOND + 1e-6


@given(st.floats(0, BURST), st.integers(0, 3), st.floats(0, 3 * MISSED_SECONDS))
def test_a_pace_that_is_rested_passes_as_a_new_one_and_keeps_what_it_missed_for_a_day(
    left: float, missed: int, idle: float
) -> None:
    pace = Pace(0.0, left, missed)
    if is_rested(pace, idle):
        assert pass_by(pace, idle)[0].left == pass_by(Pace(idle), idle)[0].left
        assert not missed or idle > MISSED_SECONDS
    else:
        assert left + idle * PER_SECOND < BURST or (missed and idle <= MISSED_SECONDS)
