"""A payload at the door: refused only where the function could never take it, in words that show its signature."""

from typing import Any

import pytest

from agent.spec import Fault, find_payload_fault
from tests.unit.chute_values import a_job, a_parameter, good


def fault_of(parameters: list[dict[str, Any]], payload: object) -> Fault | None:
    return find_payload_fault(good(a_job("f", parameters=parameters)).jobs[0], payload)


TWO = [a_parameter("user_id"), a_parameter("data", required=False)]
LONE = [a_parameter("training_config")]
REST = [a_parameter("job_data", "var_keyword", required=False)]


@pytest.mark.parametrize(
    ("parameters", "payload"),
    [
        (TWO, {"user_id": 1}),
        (TWO, {"user_id": 1, "data": {}}),
        (LONE, {"training_config": {}}),
        (LONE, {"epochs": 3}),
        (LONE, {}),
        (LONE, [1, 2]),
        (REST, {"anything": 1}),
        ([], {}),
        ([], None),
        ([a_parameter("output_dir")], {}),
        ([a_parameter("output_dir"), a_parameter("a")], {"a": 1}),
        ([a_parameter("output_dir"), a_parameter("a")], {"b": 1}),
        ([a_parameter("a", "positional_only"), a_parameter("b")], {"x": 1}),
        ([a_parameter("all", "var_positional", required=False)], {"x": 1}),
    ],
)
def test_what_fits_or_may_fit_is_let_in(parameters: list[dict[str, Any]], payload: object) -> None:
    assert fault_of(parameters, payload) is None


@pytest.mark.parametrize(
    ("parameters", "payload", "words"),
    [
        (TWO, {}, "lacks user_id"),
        (TWO, {"user_id": 1, "dta": 2}, "has dta"),
        (TWO, {"x": 1}, "lacks user_id and has x"),
        (TWO, [1], "no object"),
        (LONE, {"training_config": {}, "more": 1}, "has more"),
        ([], {"x": 1}, "has x"),
        ([], [1], "no object"),
        ([a_parameter("output_dir")], {"x": 1}, "has x"),
    ],
)
def test_what_can_never_fit_is_refused_with_the_signature(
    parameters: list[dict[str, Any]], payload: object, words: str
) -> None:
    fault = fault_of(parameters, payload)
    assert fault is not None
    assert (fault.field, fault.code) == ("payload", "payload_mismatch")
    assert words in fault.message
    assert "expected: f(" in fault.message


def test_a_thousand_unknown_names_are_told_in_a_line() -> None:
    fault = fault_of([], {f"name{number}": 1 for number in range(1_000)})
    assert fault is not None
    assert "and 992 more" in fault.message
    assert len(fault.message) < 400
