"""The testing section of the decorator reference as its page has it: its tests, run by pytest with the authors' plugin, on its own jobs.

Run by `make test-page PAGE=FILE`, by this file's path alone: the page is no part of the repository.
"""

import os
from pathlib import Path

import pytest

from tests.page.blocks import find_blocks

pytest_plugins = ["pytester"]

if not os.environ.get("PAGE"):
    raise pytest.UsageError("say which page: make test-page PAGE=FILE")
BLOCKS = find_blocks(Path(os.environ["PAGE"]).read_text(encoding="utf-8"))
ROOT = Path(__file__).resolve().parents[2]
# The jobs that its tests call. What those leave to their author is in chute.py.
JOBS = ("async def robust_job_with_error_handling", "async def workflow_step_1")
TESTS = ("class TestJobs", "async def test_job_workflow")


def test_it_runs_as_written(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    own = (ROOT / "tests" / "page" / "chute.py").read_text()
    # Ours make room for the page's: two jobs of one name are refused.
    chute = "\n".join([own, "chute.jobs.clear()", *blocks_with(JOBS)])
    tests = "\n".join(["from unittest.mock import AsyncMock", *blocks_with(TESTS)])
    pytester.makefile(".py", page_chute=chute, test_page=tests)
    told = pytester.runpytest_subprocess(
        "--strict-markers",
        "-W",
        "error",
        "-p",
        "agent.sdk.pytest_chutes",
        "-o",
        "chute_file=page_chute.py:chute",
    )
    told.assert_outcomes(passed=7)


def blocks_with(marks: tuple[str, ...]) -> list[str]:
    found = [block for block in BLOCKS if any(mark in block for mark in marks)]
    assert len(found) == len(marks)
    return found
