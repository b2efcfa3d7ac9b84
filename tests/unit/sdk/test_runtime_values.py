"""What the launcher makes of an author's values: texts, results, log lines, counts of identical calls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chutes._runtime.lines import log_line
from chutes._runtime.platform import Counts, identity
from chutes._runtime.results import ResultTooLargeError, result_of
from chutes._runtime.texts import clean, name_of, picture_of, shorten, text_of
from chutes.errors import PlatformError
from tests.shell.launched import parsed

ANY_TEXT = st.text(st.characters())
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(ANY_JSON)
def test_json_comes_back_as_it_was(value: object) -> None:
    result = result_of(value)
    assert (json.loads(result.json), result.note) == (value, None)


@given(ANY_TEXT)
def test_a_clean_text_can_be_sent_and_a_sound_one_is_left_alone(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert cleaned == text or any("\ud800" <= each <= "\udfff" for each in text)


@given(st.text(), st.integers(41, 200))
def test_a_shortened_text_has_its_beginning_and_its_end(text: str, longest: int) -> None:
    shortened = shorten(text, longest)
    assert len(shortened) <= longest
    assert shortened == text or (len(text) > longest and "characters cut" in shortened)


@given(ANY_TEXT, st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), ANY_TEXT))
def test_a_log_line_is_one_printable_line_and_tells_all(message: str, fields: dict[str, str]) -> None:
    line = log_line("info", message, fields, at=0.5)
    told = parsed(line.encode(errors="backslashreplace").decode())
    assert len(line.splitlines()) == 1
    assert told == {"time": "1970-01-01T00:00:00.500Z", "level": "info", "msg": message, **fields}


class Odd(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise SystemExit

    def __repr__(cls) -> str:
        raise SystemExit


class Hostile(metaclass=Odd):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __repr__(self) -> str:
        raise GeneratorExit


def test_no_object_keeps_its_picture_from_being_made() -> None:
    value = Hostile()
    assert name_of(value) == "Hostile"
    assert text_of(value) == "<Hostile whose str() raised KeyboardInterrupt>"
    assert picture_of(value) == "<Hostile whose repr() raised GeneratorExit>"
    assert "Hostile whose repr()" in json.loads(result_of(value).json)


class Deceitful(dict[str, object]):
    def items(self) -> object:  # type: ignore[override]
        raise SystemExit(5)


def test_a_mapping_that_raises_while_it_is_read_is_no_json() -> None:
    assert result_of(Deceitful(a=1)).note is not None


def test_a_result_one_byte_too_large_is_refused() -> None:
    with pytest.raises(ResultTooLargeError, match="8388609 bytes"):
        result_of("x" * ((8 << 20) - 1))


@given(st.lists(st.sampled_from("abc") | st.none(), max_size=30))
def test_a_count_is_the_smallest_that_no_child_has(calls: list[str | None]) -> None:
    """`None` is a refusal of what was called last."""
    counts = Counts()
    held: list[tuple[bytes, int]] = []
    for call in calls:
        if call is not None:
            taken = counts.take(call.encode())
            assert taken == min(set(range(31)) - {k for other, k in held if other == call.encode()})
            held.append((call.encode(), taken))
        elif held:
            counts.give_back(*held.pop())


@given(ANY_JSON)
def test_calls_are_identical_where_the_host_sees_the_same(payload: object) -> None:
    assert identity("a", payload, None) == identity("a", json.loads(json.dumps(payload)), None)
    assert identity("a", payload, None) != identity("b", payload, None)


def test_the_order_of_keys_and_the_kind_of_a_sequence_make_no_other_call() -> None:
    assert identity("a", {"x": 1, "y": (1, 2)}, None) == identity("a", {"y": [1, 2], "x": 1}, None)
    assert identity("a", {1: "x"}, None) == identity("a", {"1": "x"}, None)


def test_half_a_surrogate_pair_in_a_payload_is_refused_before_it_is_sent() -> None:
    with pytest.raises(PlatformError, match="payload_invalid"):
        identity("a", {"text": "\ud800"}, None)
