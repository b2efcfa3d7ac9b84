"""The testing section of the decorator reference as it is printed: its tests run by pytest with the authors' plugin, against its own jobs.

The page is named by the variable PAGE; `make test-page PAGE=…` does.
"""

import os
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
# The jobs that its tests call; what those leave to their author is in chute.py.
CALLED = ("async def robust_job_with_error_handling", "async def workflow_step_1")
TESTS = ("class TestJobs", "def test_job_workflow")


@pytest.fixture
def blocks() -> list[str]:
    page = os.environ.get("PAGE")
    if not page:
        pytest.skip("PAGE names no page")
    return re.findall(r"^```python\n(.*?)^```$", Path(page).read_text(), re.DOTALL | re.MULTILINE)


def test_it_runs_as_it_is_written(
    blocks: list[str], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    own = (ROOT / "tests" / "page" / "chute.py").read_text()
    # Ours make room: two jobs of one name are refused.
    chute = "\n".join([own, "chute.jobs.clear()", *those_with(blocks, CALLED)])
    tests = "\n".join(["from unittest.mock import AsyncMock", *those_with(blocks, TESTS)])
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


def those_with(blocks: list[str], marks: tuple[str, ...]) -> list[str]:
    found = [block for block in blocks if any(mark in block for mark in marks)]
    assert len(found) == len(marks)
    return found
