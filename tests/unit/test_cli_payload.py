"""What a function job is given, as it is written on the command line."""

import io
import sys
from pathlib import Path

import pytest

from agent.cli.payload import read_payload
from agent.cli.refusals import BadArgumentError


def test_a_payload_is_json_itself_a_file_or_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "payload.json").write_text('{"from": "a file"}')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}')))
    assert read_payload('{"from": "here"}') == {"from": "here"}
    assert read_payload(f"@{tmp_path}/payload.json") == {"from": "a file"}
    assert read_payload("-") == {"from": "stdin"}
    assert read_payload(None) == {}


@pytest.mark.parametrize("written", ["[1]", "7", "{", "@/nonexistent", "null", "[" * 100_000])
def test_what_is_no_json_object_is_refused_with_how_it_is_written(written: str) -> None:
    with pytest.raises(BadArgumentError):
        read_payload(written)
