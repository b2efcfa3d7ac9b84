"""How a payload becomes arguments: the rules one by one, and that for any signature and any JSON what is bound can be called."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chutes._binding import bind
from chutes.errors import PayloadError
from tests.tries import tries

OUT = "/outputs"


async def nothing(self): ...
async def rest(self, **job_data): ...
async def lone(self, training_config: dict): ...
async def lone_text(self, task_id: str): ...
async def lone_list(self, batch_data: "list[dict]"): ...
async def lone_default(self, days=7): ...
async def lone_and_folder(self, config, output_dir): ...
async def two(self, workflow_id: str, previous_result: dict): ...
async def two_defaults(self, a=1, b=2): ...
async def folder(self, output_dir: str): ...
async def named_and_rest(self, a, **more): ...
async def leading(self, a, b=2, /, *, c): ...
async def gathered(*everything, c=1): ...
async def this_one(this, **more): ...


BOUND: list[tuple[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]]] = [
    (nothing, None, (), {}),
    (nothing, {}, (), {}),
    (rest, None, (), {"output_dir": OUT}),
    (rest, {"a": 1, "_b": 2}, (), {"a": 1, "_b": 2, "output_dir": OUT}),
    (rest, {"output_dir": "/etc"}, (), {"output_dir": OUT}),
    (lone, {"epochs": 3}, (), {"training_config": {"epochs": 3}}),
    (lone, {"training_config": 5}, (), {"training_config": 5}),
    (lone, {}, (), {"training_config": {}}),
    (lone, [1, 2], (), {"training_config": [1, 2]}),
    (lone_text, "t-1", (), {"task_id": "t-1"}),
    (lone_text, {"task_id": "t-1"}, (), {"task_id": "t-1"}),
    (lone_list, [{"id": 1}], (), {"batch_data": [{"id": 1}]}),
    (lone_default, None, (), {}),
    (lone_default, {}, (), {}),
    (lone_default, 3, (), {"days": 3}),
    (lone_default, {"days": 3}, (), {"days": 3}),
    (lone_and_folder, {"epochs": 3}, (), {"config": {"epochs": 3}, "output_dir": OUT}),
    (lone_and_folder, {"config": 3, "output_dir": "/etc"}, (), {"config": 3, "output_dir": OUT}),
    (
        two,
        {"workflow_id": "w", "previous_result": {}},
        (),
        {"workflow_id": "w", "previous_result": {}},
    ),
    (two_defaults, None, (), {}),
    (two_defaults, {"b": 5}, (), {"b": 5}),
    (folder, None, (), {"output_dir": OUT}),
    (named_and_rest, {"a": 1, "b": 2}, (), {"a": 1, "b": 2, "output_dir": OUT}),
    (leading, {"a": 1, "c": 3}, (1, 2), {"c": 3}),
    (gathered, {"c": 3}, (), {"c": 3}),
]

REFUSED: list[tuple[Callable[..., Any], Any, str]] = [
    (nothing, {"a": 1}, r"nothing\(\): a is unknown"),
    (nothing, [1], r"nothing\(\): it is a list and no object"),
    (nothing, {"output_dir": "/etc"}, "output_dir is unknown"),
    (rest, [1], r"rest\(\*\*job_data\): it is a list and no object"),
    (rest, {"self": 1}, "self is taken by the chute itself"),
    (this_one, {"this": 1}, "this is taken by the chute itself"),
    (lone, None, r"lone\(training_config: dict\): training_config is missing"),
    (lone, {"training_config": 1, "typo": 2}, "typo is unknown"),
    (lone_text, {}, r"lone_text\(task_id: str\): task_id is missing"),
    (lone_list, {}, r"lone_list\(batch_data: list\[dict\]\): batch_data is missing"),
    (two, {}, r"two\(workflow_id: str, previous_result: dict\): workflow_id, previous_result are missing"),
    (two, {"workflow": "w"}, "workflow_id, previous_result are missing; workflow is unknown"),
    (two, "w", "it is a str and no object"),
    (two_defaults, {"c": 1}, r"two_defaults\(a = …, b = …\): c is unknown"),
    (named_and_rest, {"b": 1}, "a is missing"),
    (leading, {"c": 1}, "a is missing"),
]


@pytest.mark.parametrize(("function", "payload", "args", "kwargs"), BOUND)
def test_a_payload_that_fits_is_bound(
    function: Callable[..., Any], payload: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert bind(function, payload, OUT) == (args, kwargs)


@pytest.mark.parametrize(("function", "payload", "told"), REFUSED)
def test_a_payload_that_does_not_fit_is_refused_with_the_signature(
    function: Callable[..., Any], payload: object, told: str
) -> None:
    with pytest.raises(PayloadError, match=told):
        bind(function, payload, OUT)


def test_a_refusal_stays_short_whatever_the_payload_is() -> None:
    with pytest.raises(PayloadError) as refused:
        bind(nothing, {f"{number}{'x' * 10_000}": 1 for number in range(1_000)}, OUT)
    assert len(str(refused.value)) < 1_000
    assert "and 990 more are unknown" in str(refused.value)


def test_the_payload_itself_is_not_changed() -> None:
    payload = {"a": 1}
    bind(rest, payload, OUT)
    assert payload == {"a": 1}


class Made(NamedTuple):
    """A generated function and what its text says of it."""

    function: Callable[..., Any]
    required: list[str]
    optional: list[str]
    is_open: bool


@st.composite
def functions(draw: st.DrawFn) -> Made:
    names = draw(st.lists(st.sampled_from([*"abcdefg", "output_dir"]), unique=True, max_size=6))
    first, second = sorted(draw(st.tuples(st.integers(0, len(names)), st.integers(0, len(names)))))
    # Once a positional parameter has a default, all after it need one.
    defaults_from = draw(st.integers(0, second))
    has_default = [index >= defaults_from for index in range(second)]
    has_default += [draw(st.booleans()) for _ in names[second:]]
    written = [
        f"{name}='default'" if default else name for name, default in zip(names, has_default, strict=True)
    ]
    gathers, is_open = draw(st.booleans()), draw(st.booleans())
    star = ["*more"] if gathers else ["*"] if names[second:] else []
    text = ", ".join(
        [
            "self",
            *written[:first],
            *(["/"] if first else []),
            *written[first:second],
            *star,
            *written[second:],
            *(["**rest"] if is_open else []),
        ]
    )
    scope: dict[str, Any] = {}
    exec(f"def made({text}): return locals()", scope)
    required = [name for name, default in zip(names, has_default, strict=True) if not default]
    return Made(scope["made"], required, [name for name in names if name not in required], is_open)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*"abcdefgh", "self", "output_dir", "é", ""]), inner, max_size=6)
    ),
    max_leaves=6,
)


@pytest.mark.slow
@given(functions(), JSON)
@settings(max_examples=tries(300), deadline=None)
def test_whatever_is_bound_can_be_called_and_whatever_is_not_is_the_users_fault(
    made: Made, payload: object
) -> None:
    try:
        args, kwargs = bind(made.function, payload, OUT)
    except PayloadError:
        return
    inspect.signature(made.function).bind("the chute", *args, **kwargs)
    called = made.function("the chute", *args, **kwargs)
    assert called["self"] == "the chute"
    assert called.get("output_dir", OUT) == OUT


@given(functions(), st.data())
@settings(max_examples=tries(200), deadline=None)
def test_each_named_parameter_gets_its_own(made: Made, data: st.DataObject) -> None:
    chosen = [name for name in made.optional if data.draw(st.booleans())]
    payload = {name: f"for {name}" for name in (*made.required, *chosen) if name != "output_dir"}
    args, kwargs = bind(made.function, payload, OUT)
    called = made.function("the chute", *args, **kwargs)
    expected = {name: payload.get(name, "default") for name in (*made.required, *made.optional)}
    if "output_dir" in expected:
        expected["output_dir"] = OUT
    assert {name: called[name] for name in expected} == expected


@given(functions(), st.data())
@settings(max_examples=tries(200), deadline=None)
def test_a_name_that_is_missing_is_named(made: Made, data: st.DataObject) -> None:
    wanted = [name for name in made.required if name != "output_dir"]
    named = [name for name in (*made.required, *made.optional) if name != "output_dir"]
    if len(named) < 2 or not wanted:
        return
    left_out = data.draw(st.sampled_from(wanted))
    payload = {name: 1 for name in named if name != left_out}
    with pytest.raises(PayloadError, match=f"{left_out} is missing"):
        bind(made.function, payload, OUT)
