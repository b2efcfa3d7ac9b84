"""JSON on one line: what others wrote is put in as it stands."""

import json

import pytest

from agent.core.json_line import dump_with, on_one_line


def test_a_field_that_was_written_elsewhere_is_put_last() -> None:
    assert dump_with({"a": 1}, "payload", b'{"b": [2]}') == b'{"a":1,"payload":{"b": [2]}}'


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends_within_it_end_no_line(end: bytes) -> None:
    line = dump_with({"a": 1}, "body", b"{" + end + b'"b": 2' + end + b"}" + end)
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line) == {"a": 1, "body": {"b": 2}}


def test_what_is_on_one_line_is_not_copied() -> None:
    text = b'{"a": 1}'
    assert on_one_line(text) is text
