"""The pages on chutes: what docs/api.md shows is shaped as the agent answers, and docs/jobs.md promises the retries of the catalogue."""

import json
import re
from pathlib import Path
from typing import Any

from agent.api.chute_views import show_chute
from agent.api.family_views import family_schemas
from agent.api.function_views import show_function
from agent.core.chute import Version, brief_of
from agent.core.function import FunctionCall
from agent.core.reasons import CATALOGUE
from agent.spec import Entry, Fault
from tests.unit.chute_values import a_job, a_parameter, good
from tests.unit.core_values import make_job

DOCS = Path(__file__).parents[2] / "docs"


def blocks(chapter: str) -> list[Any]:
    page = (DOCS / "api.md").read_text().partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    return [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    ]


CHUTE, REFUSED = blocks("Chutes")
TOLD, RAISED = blocks("What functions tell")
(TREE,) = blocks("What came of a job")


def test_the_chute_of_the_page_has_the_names_of_an_answer() -> None:
    manifest = good(a_job(parameters=[a_parameter("x")]))
    version = Version(
        "v", "ann", "digest", "python", Entry("main.py", "chute"), 0.0, chute="trainer", manifest=manifest
    )
    answer: dict[str, Any] = show_chute(version, [brief_of(version)])
    assert sorted(CHUTE) == sorted(answer)
    for name in ("version", "declared"):
        assert list(CHUTE[name]) == list(answer[name])
    (shown,), (told,) = CHUTE["jobs"], answer["jobs"]
    assert sorted(shown) == sorted(told)
    assert list(shown["parameters"][0]) == list(told["parameters"][0])


def test_the_faults_of_the_page_have_the_names_of_faults() -> None:
    for fault in REFUSED["faults"]:
        Fault(**fault)


def test_what_a_function_tells_on_the_page_has_the_names_of_a_job() -> None:
    job = make_job(call=FunctionCall("trainer", "v", "train", "main.py"))
    assert sorted(TOLD) == sorted(show_function(job, None))
    reason = CATALOGUE[RAISED["reason"]["code"]]
    assert RAISED["reason"]["retryable"] is reason.is_retryable
    assert RAISED["reason"]["remedy"] == reason.remedy


def test_the_tree_of_the_page_has_the_names_of_an_answer() -> None:
    schema: Any = family_schemas()["JobTree"]
    assert list(TREE) == schema["required"]
    assert {tuple(item) for item in TREE["items"]} == {
        tuple(schema["properties"]["items"]["items"]["required"])
    }


def test_what_authors_are_told_of_retries_is_what_the_catalogue_says() -> None:
    table = (DOCS / "jobs.md").read_text().partition("| the function | the job has |")[2].partition("\n\n")[0]
    said = {code: row.rstrip(" |").endswith("yes") for row in table.splitlines()[2:] for code in re.findall(r"`([a-z_]+)`", row.split("|")[2])}  # fmt: skip
    assert len(said) == 10
    assert said == {code: CATALOGUE[code].is_retryable for code in said}
