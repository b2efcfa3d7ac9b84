"""The host refuses a payload at its door only where the SDK would in the job, whatever the signature."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spec import find_payload_fault
from chutes._binding import bind
from chutes._signature import read_parameters
from chutes.errors import PayloadError
from tests.tries import tries
from tests.unit.chute_values import a_job, good

NAMES = ["a", "b", "output_dir", "data"]
VALUES = st.none() | st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)
PAYLOADS = VALUES | st.dictionaries(st.sampled_from([*NAMES, "x"]), VALUES, max_size=3)


@st.composite
def functions(draw: st.DrawFn) -> Callable[..., Any]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    split = draw(st.integers(0, len(names)))
    star = draw(st.sampled_from(["", "*", "*args"]))
    positional = [f"{name}{annotation(draw)}" for name in names[:split]]
    # Behind a default each has one.
    if draw(st.booleans()) and positional:
        positional[-1] += " = None"
    keyword = [f"{name}{annotation(draw)}{draw(st.sampled_from(['', ' = None']))}" for name in names[split:]]
    rest = draw(st.sampled_from(["", "**rest"]))
    if star == "*" and not keyword:
        star = ""
    if not star:
        # Without one, what follows is positional too, and its defaults come last.
        keyword.sort(key=lambda parameter: "=" in parameter)
        positional = sorted([*positional, *keyword], key=lambda parameter: "=" in parameter)
        keyword = []
    parts = ["self", *positional, *([star] if star else []), *keyword, *([rest] if rest else [])]
    space: dict[str, Any] = {}
    exec(f"def f({', '.join(parts)}): pass", space)
    found: Callable[..., Any] = space["f"]
    return found


def annotation(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", ": dict", ": int", ": list"]))


@settings(max_examples=tries(300), deadline=None)
@given(functions(), PAYLOADS)
def test_what_is_refused_at_the_door_would_be_refused_in_the_job(
    function: Callable[..., Any], payload: object
) -> None:
    parameters = [parameter._asdict() for parameter in read_parameters(function)]
    fault = find_payload_fault(good(a_job("f", parameters=parameters)).jobs[0], payload)
    if fault is None:
        return
    with pytest.raises(PayloadError):
        bind(function, payload, "/outputs")
