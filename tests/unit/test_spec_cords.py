"""Where cords answer: a request finds its cord however it is written, and what a stranger's manifest says of cords is judged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.spec import CordMatch, NoCord, OtherMethods, find_cord_faults, lines_of, match_cord
from agent.spec.manifest import CordFunction, Parameter, ParameterKind


def cord(
    path: str | None, method: str | None = "POST", function: str = "ask", **more: object
) -> CordFunction:
    return CordFunction.model_validate(
        {"function": function, "public_api_path": path, "method": method, **more}
    )


CORDS = (
    cord("/start"),
    cord("/jobs/{job_id}", "GET"),
    cord("/jobs/{job_id}", "DELETE"),
    cord("/jobs/list", "GET"),
    cord("/", "GET"),
    cord("/a/{x}/b/{y}", "GET"),
)


def found(method: str, path: str) -> tuple[int, dict[str, str]]:
    match = match_cord(CORDS, method, path)
    assert isinstance(match, CordMatch), match
    return match.index, match.params


@pytest.mark.parametrize(
    ("method", "path", "index", "params"),
    [
        ("POST", "/start", 0, {}),
        ("POST", "/st%61rt", 0, {}),
        ("GET", "/jobs/1", 1, {"job_id": "1"}),
        ("DELETE", "/jobs/1", 2, {"job_id": "1"}),
        ("GET", "/jobs/list", 3, {}),
        ("DELETE", "/jobs/list", 2, {"job_id": "list"}),
        ("GET", "/", 4, {}),
        ("HEAD", "/", 4, {}),
        ("GET", "/a/1/b/2", 5, {"x": "1", "y": "2"}),
        ("GET", "/jobs/a%2Fb%20%C3%A9", 1, {"job_id": "a/b é"}),
        ("GET", "/jobs/..", 1, {"job_id": ".."}),
        ("GET", "/jobs/%7Bjob_id%7D", 1, {"job_id": "{job_id}"}),
    ],
)
def test_a_request_finds_its_cord(method: str, path: str, index: int, params: dict[str, str]) -> None:
    assert found(method, path) == (index, params)


@pytest.mark.parametrize(
    "path",
    ["", "start", "/start/", "//start", "/jobs/", "/jobs", "/jobs/1/2", "/jobs/%zz", "/jobs/%", "/jobs/%ff"],
)
def test_what_is_no_cords_path_leads_nowhere(path: str) -> None:
    assert isinstance(match_cord(CORDS, "GET", path), NoCord)


def test_a_path_that_is_nearly_a_cords_is_told() -> None:
    assert match_cord(CORDS, "POST", "/strat") == NoCord("/start")
    assert match_cord((), "POST", "/start") == NoCord(None)


def test_another_method_is_told_which_there_are() -> None:
    assert match_cord(CORDS, "PUT", "/jobs/1") == OtherMethods(("GET", "HEAD", "DELETE", "OPTIONS"))
    assert match_cord(CORDS, "GET", "/start") == OtherMethods(("POST", "OPTIONS"))


@given(st.text(), st.text())
def test_any_request_at_all_is_matched_or_not(method: str, path: str) -> None:
    match_cord(CORDS, method, path)


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "start",
        "/start/",
        "/{x",
        "/{x}y",
        "/{1}",
        "/a b",
        "/a%20b",
        "/ä",
        "/{x}/{x}",
        "/" + "a" * 512,
    ],
)
def test_a_path_that_nobody_could_ask_for_is_refused(path: str | None) -> None:
    faults = list(find_cord_faults([cord(path)]))
    assert [(fault.field, fault.code) for fault in faults] == [("cords.ask.public_api_path", "cord_invalid")]


@pytest.mark.parametrize("method", [None, "", "get", "TRACE", "CONNECT", "X" * 1000])
def test_a_method_that_is_none_is_refused(method: str | None) -> None:
    (fault,) = find_cord_faults([cord("/a", method)])
    assert fault.field == "cords.ask.method"
    assert len(fault.message) < 300


def test_two_cords_between_which_no_request_could_tell_are_refused_both() -> None:
    faults = list(find_cord_faults([cord("/a/{x}", function="one"), cord("/a/{y}", function="two")]))
    assert {(fault.field, fault.code) for fault in faults} == {
        ("cords.one.public_api_path", "cord_duplicate"),
        ("cords.two.public_api_path", "cord_duplicate"),
    }


def test_the_same_path_may_take_several_methods() -> None:
    assert list(find_cord_faults([cord("/a", "GET"), cord("/a", "POST")])) == []


def test_all_faults_of_a_cord_come_at_once() -> None:
    parameter = Parameter(name="x", kind=ParameterKind.KEYWORD_ONLY, required=True)
    lies = cord("a", "get", "not a name", parameters=(parameter,) * 65)
    assert len(list(find_cord_faults([lies]))) == 4


@pytest.mark.parametrize(("told", "lines"), [(None, 1), (-5, 1), (0, 1), (8, 8), (10**9, 64)])
def test_a_chute_runs_one_cord_at_least_and_sixty_four_at_most_at_once(told: int | None, lines: int) -> None:
    assert lines_of(told) == lines
