"""The XID table: each row of the design's, the operator's rows over it, and what is no row."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.config.values import XidActions
from agent.core.xids import ROWS, XidAction, XidTable, describe, read_action, read_xid

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
BUILT_IN = XidTable()

CLASSES = {
    XidAction.APPLICATION: {13, 31, 43, 45, 68, 69},
    XidAction.RESET: {46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158},
    XidAction.LOST: {79, 151},
    XidAction.FACTS: {48, 63, 74, 92, 94, 144, 145, 146, 147, 148, 149, 150},
}


@pytest.mark.parametrize("action", XidAction)
def test_each_class_has_its_rows_and_no_other(action: XidAction) -> None:
    assert {xid for xid, row in ROWS.items() if row.action is action} == CLASSES.get(action, set())


@given(st.integers())
def test_what_has_no_row_is_suspect(xid: int) -> None:
    expected = ROWS[xid].action if xid in ROWS else XidAction.SUSPECT
    assert BUILT_IN.action(xid) is expected
    assert describe(xid).startswith(f"XID {xid}: ")


@given(st.integers(1, 200), st.sampled_from(XidAction), st.integers(1, 200))
def test_an_operators_row_counts_for_its_xid_alone(xid: int, action: XidAction, other: int) -> None:
    table = XidTable({xid: action})
    assert table.action(xid) is action
    assert other == xid or table.action(other) is BUILT_IN.action(other)


@given(st.dictionaries(st.integers(1, 9999), st.sampled_from(XidAction)))
def test_rows_are_read_as_they_are_written(rows: dict[int, XidAction]) -> None:
    written = {str(xid): action.value for xid, action in rows.items()}
    assert TypeAdapter(XidActions).validate_python(written) == rows


@pytest.mark.parametrize(
    "key", ["", "0", "031", "-31", "+31", " 31", "31 ", "3_1", "31.0", "٣١", "10000", True, None, 1.5]
)
def test_a_key_that_is_no_xid_is_refused(key: object) -> None:
    with pytest.raises(ValueError, match="from 1 to 9999"):
        read_xid(key)


@pytest.mark.parametrize("word", ["", "Ignore", "ignore ", "unknown", 1, None, True, ["ignore"]])
def test_a_word_that_is_no_action_is_refused(word: object) -> None:
    with pytest.raises(ValueError, match="application, reset, lost"):
        read_action(word)


def test_all_bad_rows_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(XidActions).validate_python({"x": "ignore", "31": "no", "79": "reset", "0": "?"})
    assert {error["loc"][0] for error in caught.value.errors()} == {"x", "31", "0"}


def test_the_operators_page_has_the_same_table() -> None:
    rows = re.findall(r"^\| ([0-9, -]+) \| `(\w+)` \|", OPERATIONS.read_text(), flags=re.MULTILINE)
    told = {XidAction(action): set(numbers(text)) for text, action in rows}
    assert told == CLASSES


def numbers(text: str) -> list[int]:
    found = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
