"""The catalogue of reasons and all errors: unique codes, remedies, one page that tells of all of them."""

import ast
import re
import runpy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.exits import GONE
from agent.core.job import FailureKind, StopCause
from agent.core.reasons import CATALOGUE, reason
from agent.errors import AgentError, Blame, Phase

ROOT = Path(__file__).parents[2]
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_errors.py"))
ERRORS: list[type[AgentError]] = GENERATOR["find_errors"]()
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page == GENERATOR["render"](), "run `python docs/generate_errors.py`"


def test_each_error_has_a_code_of_its_own() -> None:
    """The command line may say again what the API says; its texts are for who has the command before him."""
    codes = Counter((error.__module__.startswith("agent.cli"), error.code) for error in ERRORS)
    assert not [code for code, times in codes.items() if times > 1]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__qualname__)
def test_each_error_says_what_it_is_whose_fault_and_what_to_do(error: type[AgentError]) -> None:
    assert SNAKE_CASE.fullmatch(error.code)
    assert error.__doc__ or error.remedy
    assert isinstance(error.blame, Blame)
    assert error.phase is None or isinstance(error.phase, Phase)
    assert error.remedy.strip()


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_each_reason_is_complete(code: str) -> None:
    why = reason(code)
    assert SNAKE_CASE.fullmatch(code)
    assert why.message.strip()
    assert why.remedy.strip()
    assert reason(code, "more is known").message == "more is known"


def test_a_code_that_both_have_blames_the_same() -> None:
    both = {error.code: error.blame for error in ERRORS if error.code in CATALOGUE}
    assert both == {code: CATALOGUE[code].blame for code in both}


def test_every_stop_has_a_reason() -> None:
    assert {cause.value for cause in StopCause} <= CATALOGUE.keys()
    assert {kind.value for kind in FailureKind} - CATALOGUE.keys() == {FailureKind.IMAGE, FailureKind.COMMAND}
    assert GONE.lost_code in CATALOGUE


def test_every_code_that_the_agent_gives_a_job_is_in_the_catalogue() -> None:
    """A code that is not would make the close of its job raise for ever."""
    texts_of_modules = (path.read_text() for path in (ROOT / "agent").rglob("*.py"))
    used = {code for text in texts_of_modules if WHERE.search(text) for code in codes_in(ast.parse(text))}
    assert len(used) > 15
    assert used <= CATALOGUE.keys()


# Whose argument (by its place) is a reason's code.
PLACES = {"StartFailure": 1, "PullFailedError": 0, "reason": 0}
# Whose results are.
MAKERS = {"start_failure", "_lost_code"}
KEYWORDS = {"lost_code", "reason_code"}
# Whoever has none of these is not worth parsing.
WHERE = re.compile("|".join([*(rf"\b{name}\(" for name in PLACES), *MAKERS, *KEYWORDS]))


def codes_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PLACES:
            place = PLACES[node.func.id]
            yield from texts(node.args[place] if len(node.args) > place else None)
        elif isinstance(node, ast.keyword) and node.arg in KEYWORDS:
            yield from texts(node.value)
        elif isinstance(node, ast.FunctionDef) and node.name in MAKERS:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return | ast.Assign):
                    yield from texts(inner.value)


def texts(node: ast.expr | None) -> Iterator[str]:
    """Constants, and those of a choice between two."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
