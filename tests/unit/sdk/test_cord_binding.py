"""How a request becomes the arguments of a cord: of its path, its JSON body, its query."""
# ruff: noqa: UP007, UP045 — as authors write them, and as they read in a signature

from collections.abc import Callable
from typing import Any, Optional, Union

import pytest

from chutes._cord_binding import Request, bind_request
from chutes.errors import PayloadError

NONE = object()


def bound(
    function: Callable[..., Any],
    *,
    params: dict[str, str] | None = None,
    query: dict[str, Any] | None = None,
    body: Any = NONE,
) -> dict[str, Any]:
    has_body = body is not NONE
    args, kwargs = bind_request(
        function, Request(params or {}, query or {}, has_body, body if has_body else None)
    )
    assert args == ()
    return kwargs


def refused(function: Callable[..., Any], **request: Any) -> str:
    with pytest.raises(PayloadError) as refusal:
        bound(function, **request)
    return str(refusal.value)


def lone(self, config: dict): ...
def two(self, left, right=2): ...
def of_path(self, job_id: str, config): ...
def rest(self, job_id: str, **more): ...
def nothing(self): ...


@pytest.mark.parametrize("body", [{"rate": 1}, {}, [1], "text", 0, None])
def test_a_lone_parameter_gets_the_whole_body(body: object) -> None:
    assert bound(lone, body=body) == {"config": body}


def test_a_body_that_has_the_lone_parameters_name_gives_it_by_name() -> None:
    assert bound(lone, body={"config": {"rate": 1}}) == {"config": {"rate": 1}}


@pytest.mark.parametrize("body", [{}, None])
def test_an_empty_body_takes_nothing_from_the_query(body: object) -> None:
    assert bound(lone, query={"config": "x"}, body=body) == {"config": "x"}


def test_parameters_of_the_path_do_not_count_for_it() -> None:
    assert bound(of_path, params={"job_id": "7"}, body=[1]) == {"job_id": "7", "config": [1]}


def test_names_come_of_path_body_and_query_together() -> None:
    def every(self, a, b, c): ...

    assert bound(every, params={"a": "1"}, query={"b": "2"}, body={"c": 3}) == {"a": "1", "b": "2", "c": 3}


def test_a_body_of_null_or_none_at_all_is_nothing_to_several() -> None:
    assert bound(two, query={"left": "1"}, body=None) == {"left": "1"}
    assert bound(two, query={"left": "1"}) == {"left": "1"}
    assert bound(nothing, body=None) == {}


def test_a_rest_gets_what_nobody_else_takes_and_no_output_dir() -> None:
    assert bound(rest, params={"job_id": "1"}, query={"a": "x"}, body={"b": 2}) == {
        "job_id": "1", "a": "x", "b": 2,
    }  # fmt: skip


def test_output_dir_is_a_name_as_any() -> None:
    def work(self, output_dir): ...

    assert bound(work, query={"output_dir": "x"}) == {"output_dir": "x"}
    assert "output_dir is missing" in refused(work)


def test_leading_parameters_without_names_are_given_in_their_order() -> None:
    def work(self, left: int, right: int = 5, /, *, other: int = 1): ...

    given = bind_request(work, Request({}, {"left": "1", "other": "3"}, has_body=False, body=None))
    assert given == ((1, 5), {"other": 3})


@pytest.mark.parametrize(
    ("function", "request_", "words"),
    [
        (two, {}, "left is missing"),
        (two, {"body": {"left": 1, "more": 2}}, "more is unknown"),
        (two, {"body": [1]}, "its body is a list and no object"),
        (two, {"body": {"left": 1}, "query": {"left": "1"}}, "left is given twice"),
        (two, {"params": {"left": "1"}, "query": {"left": "1"}}, "left is given twice"),
        (of_path, {"params": {"job_id": "1"}, "body": {"job_id": 2, "config": 1}}, "job_id is given twice"),
        (lone, {"query": {"config": "x"}, "body": [1]}, "config is given twice"),
        (lone, {}, "config is missing"),
        (rest, {"params": {"job_id": "1"}, "body": {"self": 1}}, "self is taken by the chute itself"),
        (rest, {"params": {"job_id": "1"}, "body": 5}, "its body is a int and no object"),
        (nothing, {"body": 5}, "its body is a int and no object"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_signature(
    function: Callable[..., Any], request_: dict[str, Any], words: str
) -> None:
    told = refused(function, **request_)
    assert words in told
    assert told.startswith(f"the request does not fit {function.__name__}(")


def test_all_that_is_wrong_is_told_at_once() -> None:
    def work(self, a: int, b: int, c): ...

    told = refused(work, query={"a": "x", "b": "y", "d": "1"})
    assert "c is missing; d is unknown; a is no whole number: 'x'; b is no whole number: 'y'" in told


def test_a_body_of_a_million_names_is_refused_in_few_words() -> None:
    assert len(refused(two, body={"n" * 1000 + str(number): 1 for number in range(10_000)})) < 2_000


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "5", 5), (int, "-05", -5), (float, "1.5e3", 1500.0), (float, "5", 5.0), (float, ".5", 0.5),
        (bool, "true", True), (bool, "0", False), (bool, "Off", False), (str, "5", "5"), (dict, "5", "5"),
        (Optional[int], "5", 5), (Union[int, None], "5", 5), (Union[None, float], "5", 5.0), (int | None, "5", 5),
        ("int", "5", 5), ("Optional[bool]", "yes", True), ("int | None", "5", 5), ("typing.Optional[int]", "5", 5),
        ("None | int", "5", 5), ("'int'", "5", 5), (int | str, "5", "5"),
        (list[int], "5", [5]), (list[int], ["5", "6"], [5, 6]), (list, ["5"], ["5"]), ("List[float] | None", "5", [5.0]),
        ("tuple[int, ...]", ["1", "2"], [1, 2]), ("set", "a", ["a"]), ("Whatever", ["a", "b"], ["a", "b"]),
    ],
)  # fmt: skip
def test_texts_of_path_and_query_become_what_the_annotation_says(
    annotation: object, text: object, value: object
) -> None:
    def work(self, given): ...

    work.__annotations__["given"] = annotation
    got = bound(work, query={"given": text})
    assert got == {"given": value}
    assert type(got["given"]) is type(value)
    if isinstance(text, str):
        assert bound(work, params={"given": text}) == {"given": value}


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        *[(int, text) for text in ("", "1.0", "x", " 1", "1_0", "٣", "1" * 5000, "0x1", "--1", "1\n")],
        *[(float, text) for text in ("", "nan", "inf", "1e999", "1_0", ".", "e5", "9" * 5000)],
        *[(bool, text) for text in ("", "2", "wahr", "null")],
        *[(Optional[int], text) for text in ("", "none", "null")],
        (list[int], ["1", "x"]),
        *[(kind, ["1", "2"]) for kind in (int, float, bool, str, Optional[int])],
    ],
)
def test_what_is_none_is_refused(annotation: object, text: object) -> None:
    def work(self, given): ...

    work.__annotations__["given"] = annotation
    assert "given is" in refused(work, query={"given": text})


def test_values_of_the_body_are_given_as_they_are() -> None:
    def work(self, number: int, other: int = 1): ...

    assert bound(work, body={"number": "5"}) == {"number": "5"}
