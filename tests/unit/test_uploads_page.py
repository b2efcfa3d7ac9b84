"""docs/api.md on uploads, and docs/operations.md: the examples are what the agent takes and answers, and no code is left out."""

import json
import re
from pathlib import Path
from typing import Any

from agent.core.job import Job
from agent.core.upload import Tally, UploadRecord, UploadState, UploadTrouble
from agent.core.upload_form import UploadView, show_upload
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.jobs.uploads.made import make_manifest
from agent.spec import parse_spec
from tests.fakes.store import MemoryStore
from tests.unit.core_values import make_job

DOCS = Path(__file__).parents[2] / "docs"
CHAPTER = (DOCS / "api.md").read_text().partition("\n## Uploads\n")[2].partition("\n## ")[0]
SPEC, MANIFEST, UPLOAD = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", CHAPTER, re.DOTALL | re.MULTILINE))  # fmt: skip


def shape(value: object) -> object:
    """The names, and the kinds of the values."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return type(value)


def test_the_spec_of_the_page_is_taken_and_holds_secrets() -> None:
    assert parse_spec(SPEC).outputs.upload.has_secrets


def test_the_upload_of_the_page_has_the_names_of_an_answer_and_words_of_the_catalogue() -> None:
    trouble = UploadTrouble("status_refused", 1.0, 403, "notes.txt")
    record = UploadRecord(1, 0.0, UploadState.SENDING, Tally(3, 30_000_011), Tally(1, 5), 1, trouble)
    answer: dict[str, Any] = show_upload(UploadView(record, 9_437_189, 18_603_228.0))
    assert shape(UPLOAD) == shape(answer)
    assert {**UPLOAD["last_error"], "at": None} == {**answer["last_error"], "at": None}


async def test_the_manifest_of_the_page_has_the_names_of_one() -> None:
    job: Job = make_job()
    made = b"".join([piece async for piece in make_manifest(MemoryStore(lambda: 0.0), job, ())])
    assert list(MANIFEST) == list(json.loads(made))


def test_every_code_is_said_to_somebody_who_can_mend_it() -> None:
    page = (DOCS / "operations.md").read_text()
    table = page.partition("## Outputs that did not leave")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= set(UPLOAD_TROUBLES)
