"""docs/architecture.md and README.md: what they say lies somewhere lies there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def paths_of(page: str) -> set[str]:
    """What stands in backticks and has a slash in it."""
    text = (ROOT / page).read_text()
    return {path for path in re.findall(r"`([\w./]+/[\w./]*)`", text) if not path.startswith("/")}


@pytest.mark.parametrize(("page", "base"), [("docs/architecture.md", "agent"), ("README.md", "")])
def test_every_path_of_the_page_is_there(page: str, base: str) -> None:
    paths = paths_of(page)
    assert len(paths) > 10
    # The page on the code writes `jobs/…` for what is agent's, and other folders in full.
    lost = {path for path in paths if not (ROOT / base / path).exists() and not (ROOT / path).exists()}
    assert lost == set()
