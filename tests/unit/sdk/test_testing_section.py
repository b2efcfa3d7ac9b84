"""The testing section of the decorator reference, in our own words: run by pytest with the authors' plugin alone, as an author would."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "tests" / "page"


def test_an_authors_tests_run_against_a_chute_without_any_other_plugin(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makefile(
        ".py", page_chute=(PAGE / "chute.py").read_text(), test_page=(PAGE / "own_tests.py").read_text()
    )
    told = pytester.runpytest_subprocess(
        "--strict-markers",
        "-W",
        "error",
        "-p",
        "agent.sdk.pytest_chutes",
        "-o",
        "chute_file=page_chute.py:chute",
    )
    told.assert_outcomes(passed=12)
