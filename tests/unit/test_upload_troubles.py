"""The catalogue of what keeps files from leaving: whole, and of every code that is given. And whose headers win."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.uploads.wire import with_own, with_type
from agent.core.outgoing import SendTrouble
from agent.core.upload_troubles import UPLOAD_TROUBLES

AGENT = Path(__file__).parents[2] / "agent"
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@pytest.mark.parametrize("code", sorted(UPLOAD_TROUBLES))
def test_each_trouble_is_complete(code: str) -> None:
    assert SNAKE_CASE.fullmatch(code)
    assert UPLOAD_TROUBLES[code].message.strip()
    assert UPLOAD_TROUBLES[code].remedy.strip()


def test_every_code_of_a_failure_is_in_the_catalogue() -> None:
    texts = [path.read_text() for path in AGENT.rglob("*.py")]
    # Others have a Failure of their own.
    speaking = [text for text in texts if "core.delivery import" in text or "core/delivery" in text]
    used = {code for text in speaking for code in codes_in(ast.parse(text))}
    assert len(used) > 10
    assert used <= UPLOAD_TROUBLES.keys()
    assert set(SendTrouble) <= UPLOAD_TROUBLES.keys()


def codes_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Failure":
            code = node.args[0]
            if isinstance(code, ast.Constant):
                yield str(code.value)


def test_our_headers_win_in_whatever_case_a_user_wrote_his() -> None:
    assert with_own({"tus-RESUMABLE": "0.2", "X": "y"}, {"Tus-Resumable": "1.0.0"}) == {
        "X": "y",
        "Tus-Resumable": "1.0.0",
    }
    assert with_type({"content-type": "text/plain"}) == {"content-type": "text/plain"}
    assert with_type({"X": "y"}) == {"Content-Type": "application/octet-stream", "X": "y"}
