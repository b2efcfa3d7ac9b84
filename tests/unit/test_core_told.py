"""What is kept of all that a function tells: bounded, in order, and true of what was told."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.metrics import MOST_LABELS, MOST_POINTS, Metric, read_number
from agent.core.told import BadReportError, News, Progress, read_news, read_points

NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(NUMBERS, max_size=40).map(lambda values: values * 80))
def test_a_series_is_a_thinned_one_of_all_numbers_and_never_too_long(values: list[float]) -> None:
    metric = Metric()
    for at, value in enumerate(values):
        metric.add(value, float(at))
        assert len(metric.points) <= MOST_POINTS
    assert metric.points == [(float(at), value) for at, value in enumerate(values)][:: metric.stride]
    if values:
        assert (metric.low, metric.high, metric.last) == (min(values), max(values), values[-1])
        assert len(metric.points) > MOST_POINTS / 2 or len(values) <= MOST_POINTS
    assert metric.count == len(values)
    assert math.isfinite(metric.total)


@given(st.lists(st.sampled_from([f"label {number}" for number in range(70)])))
def test_texts_are_counted_each_by_itself_up_to_a_number(values: list[str]) -> None:
    metric = Metric()
    for value in values:
        metric.add(value, 0.0)
    assert len(metric.labels) <= MOST_LABELS
    assert sum(metric.labels.values()) + metric.other == len(values)
    assert all(values.count(label) == count for label, count in metric.labels.items())


def test_a_copy_stays_as_it_is_while_more_is_added() -> None:
    metric = Metric()
    metric.add(1, 0.0)
    metric.add("a", 0.0)
    copied = metric.copy()
    metric.add(2, 1.0)
    metric.add("a", 1.0)
    assert (copied.points, copied.labels, copied.count) == ([(0.0, 1)], {"a": 1}, 1)


@pytest.mark.parametrize(
    "value", [True, None, "1", [], math.nan, math.inf, -math.inf, 10**400, json.loads("1e999")]
)
def test_what_json_has_no_number_for_is_none(value: object) -> None:
    assert read_number(value) is None


def test_a_number_beyond_what_a_double_counts_exactly_is_one() -> None:
    assert read_number(10**300) == 1e300
    assert read_number(2**53) == 2**53


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"seq": 0},
        {"seq": True},
        {"seq": "1"},
        {"seq": 2**60},
        {"seq": 1, "progress": 5},
        {"seq": 1, "progress": {"percent": 101}},
        {"seq": 1, "progress": {"percent": -0.5}},
        {"seq": 1, "progress": {"percent": math.nan}},
        {"seq": 1, "progress": {"percent": "5"}},
        {"seq": 1, "progress": {"percent": 5, "message": 7}},
        {"seq": 1, "statuses": ["a"]},
        {"seq": 1, "statuses": {"a": 1}},
    ],
)
def test_what_is_no_report_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadReportError):
        read_news(fields)


@pytest.mark.parametrize(
    "point",
    ["a", ["a", 1], ["a", 1, 2, 3], [1, 1, 1], ["", 1, 1], ["a", None, 1], ["a", [], 1], ["a", 1, "now"]],
)
def test_what_is_no_metric_is_refused(point: object) -> None:
    with pytest.raises(BadReportError):
        list(read_points([["fine", 1, 1], point]))


def test_texts_are_cut_to_what_is_kept_and_half_a_surrogate_pair_is_none() -> None:
    read = read_news(
        {
            "seq": 1,
            "progress": {"percent": 5, "message": "m" * 5000},
            "statuses": {"t" * 5000: "\ud800" * 5000},
        }
    )
    assert read == News(1, Progress(5, "m" * 1000), {"t" * 200: "?" * 500})
    assert list(read_points([["\udfff" * 300, "l" * 300, 1]])) == [("?" * 200, "l" * 100, 1)]


def test_of_too_many_statuses_the_last_are_kept() -> None:
    read = read_news({"seq": 1, "statuses": {str(number): "x" for number in range(150)}})
    assert list(read.statuses) == [str(number) for number in range(50, 150)]
