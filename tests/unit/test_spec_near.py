"""A name that was meant is found, and never at a price that whoever wrote both names could set."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.query import unknown
from agent.spec import match_cord, nearest
from agent.spec.manifest import CordFunction
from agent.spec.near import MOST_CHARACTERS, find_near

# Some ten milliseconds. A path of 198 letters beside one of 460 took three million by themselves.
MOST_CALLS = 80_000


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """How many functions were called, in Python or not: what a comparison costs, on however busy a machine."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield lambda: calls
    finally:
        sys.setprofile(before)


def cord(path: str) -> CordFunction:
    return CordFunction(function="ask", public_api_path=path, method="POST")


WORST = [
    ("a" * 198, [("za" * 228)[:-3] + f"{number:03d}" for number in range(256)]),
    ("a" * 63, [("zaa" * 21)[:-3] + f"{number:03d}" for number in range(256)]),
    ("ab" * 31, [("abz" * 21)[:-3] + f"{number:03d}" for number in range(256)]),
    ("ab" * 250, ["ba" * 254 for _ in range(256)]),
]


@pytest.mark.parametrize(("sent", "known"), WORST)
def test_no_path_makes_a_request_to_no_cord_dear(sent: str, known: list[str]) -> None:
    cords = [cord(f"/{path}") for path in known]
    with counted() as calls:
        match_cord(cords, "GET", f"/{sent}")
        assert calls() < MOST_CALLS


@pytest.mark.parametrize(("sent", "known"), WORST)
def test_no_name_makes_a_refusal_dear(sent: str, known: list[str]) -> None:
    with counted() as calls:
        nearest(sent, tuple(known))
        unknown(sent, known)
        assert calls() < 2 * MOST_CALLS


def test_what_was_meant_is_found_among_many() -> None:
    known = [f"job_{number}" for number in range(200)] + ["train"]
    assert find_near("trian", known) == "train"
    assert find_near("something else", known) is None
    assert find_near("train", []) is None


def test_a_name_that_is_too_long_to_be_compared_is_near_none() -> None:
    assert find_near("a" * MOST_CHARACTERS, ["a" * MOST_CHARACTERS]) == "a" * MOST_CHARACTERS
    assert find_near("a" * (MOST_CHARACTERS + 1), ["a" * MOST_CHARACTERS]) is None
    assert find_near("a" * MOST_CHARACTERS, ["a" * (MOST_CHARACTERS + 1)]) is None


@given(st.text(max_size=80), st.lists(st.text(max_size=80), max_size=20))
def test_what_is_near_is_one_of_those_that_there_are(word: str, known: list[str]) -> None:
    assert find_near(word, known) in {*known, None}
