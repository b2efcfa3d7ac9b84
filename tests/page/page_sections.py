"""The decorator reference's sections, as its page has them: each is in the table of docs/jobs.md, which names what shows it and a test.

Run by `make test-page PAGE=FILE`, by this file's path alone: the page is no part of the repository.
"""

import os
from pathlib import Path

import pytest

from tests.page.blocks import find_sections
from tests.unit.sdk.test_jobs_page import REFERENCE, rows

if not os.environ.get("PAGE"):
    raise pytest.UsageError("say which page: make test-page PAGE=FILE")
SECTIONS = find_sections(Path(os.environ["PAGE"]).read_text(encoding="utf-8"))


def test_the_table_has_every_section_and_no_other() -> None:
    assert SECTIONS
    assert list(rows(REFERENCE)) == list(dict.fromkeys(SECTIONS))
