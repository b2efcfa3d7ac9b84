"""docs/jobs.md: each of its Python examples runs as printed, its tests as a project's would, and its tables leave nothing out."""

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from chutes.chute import Chute
from chutes.chute.job import Port
from chutes.errors import RegistrationError
from chutes.platform import MEMBERS
from chutes.testing import Children, LocalRunner, Result

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "jobs.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
REFUSED = [block for block in BLOCKS if block.startswith("# refused: ")]
TESTS = [block for block in BLOCKS if "def test_" in block]
EXAMPLES = [block for block in BLOCKS if block not in REFUSED + TESTS]
# What each job of the page is run with, and what it returns then.
RUNS: dict[str, tuple[dict[str, Any], object]] = {
    "train": ({"epochs": 2}, {"epochs": 2}),
    "serve": ({}, None),
    "report": ({}, None),
    "scratch": ({}, None),
    "by_name": ({"text": "ab", "times": 2}, "abab"),
    "all_of_it": ({"b": 1, "a": 2}, ["a", "b", "output_dir"]),
    "as_a_whole": ({"rate": 3}, 3),
    "predict": ({"x": 2}, 1.5),
    "nightly": ({}, {"older_than": 30}),
    "fetch": ({"url": "https://example.org"}, {"url": "https://example.org", "attempt": 2}),
    "count": ({"parts": ["a", "b", "c"]}, ["a", "b", "c"]),
    "batch": ({"items": [1, 2]}, {"done": [1, 2]}),
    "first_step": ({"workflow_id": "w1"}, {"workflow": "w1", "number": 20}),
    "second_step": ({"previous": {"number": 1}}, {"number": 2}),
    "whole": ({}, {"workflow": "w1", "number": 20}),
    "measured": ({"items": ["a", "bc"]}, 2),
    "render": ({"item_id": "a"}, {"item": "a", "again": False}),
    "ask": ({}, {"answer": "an answer"}),
    "deliver": ({"address": "host:25"}, {"delivered": ["host", 25]}),
    "alarm": ({}, "sent"),
    "fine_tune": ({}, None),
    "watched": ({"items": [1, 2]}, 3),
}


def read(block: str) -> Chute:
    """The chute of a block, or one with what the block puts on it."""
    names: dict[str, Any] = {
        "asyncio": asyncio,
        "Path": Path,
        "Port": Port,
        "chute": Chute(username="ada", name="digits"),
    }
    exec(compile(block, "jobs.md", "exec"), names)
    chute: Chute = names["chute"]
    return chute


def run(chute: Chute, name: str) -> Result:
    # Those that only a stop ends get one.
    timeout = 0.1 if name == "serve" else None
    return LocalRunner(chute, children=Children.RUN, ports={"web": 0}, timeout=timeout).run(
        name, RUNS[name][0]
    )


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: re.findall(r"def (\w+)", block)[0])
def test_an_example_is_registered_and_runs_as_printed(block: str) -> None:
    chute = read(block)
    assert chute.jobs or chute.cords
    for name in chute.jobs:
        result = run(chute, name)
        assert result.outcome == ("timed_out" if name == "serve" else "succeeded"), result.error
        assert result.value == RUNS[name][1]


def chute_with(name: str) -> Chute:
    """The one of the block that has this job."""
    (found,) = [chute for chute in map(read, EXAMPLES) if name in chute.jobs]
    return found


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    runner = LocalRunner(chute_with("render"), output_dir=tmp_path)
    again = [runner.run("render", {"item_id": "a"}).value["again"] for _ in range(2)]
    assert again == [False, True]
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


def test_what_takes_too_long_says_what_it_was() -> None:
    result = LocalRunner(chute_with("ask")).run("ask", {"seconds": 0})
    assert result.error is not None
    assert (result.error.message, len(result.attempts)) == ("no answer within 0 s", 2)


def test_what_no_attempt_can_heal_is_tried_once() -> None:
    result = LocalRunner(chute_with("deliver")).run("deliver", {"address": "nowhere"})
    assert result.error is not None
    assert (result.error.kind, len(result.attempts)) == ("permanent", 1)
    healed = LocalRunner(chute_with("deliver")).run("deliver", {"address": "host:25"})
    assert [attempt.outcome for attempt in healed.attempts] == ["failed", "succeeded"]


def test_what_failed_is_counted_by_its_type() -> None:
    result = LocalRunner(chute_with("watched")).run("watched", {"items": ["a"]})
    assert (result.outcome, result.metrics) == ("failed", [("failure", "TypeError")] * 2)
    (name, seconds), *_ = LocalRunner(chute_with("watched")).run("watched", {"items": [1]}).metrics
    assert (name, seconds >= 0) == ("seconds", True)


def test_each_job_of_the_page_is_known_here() -> None:
    assert {name for block in EXAMPLES for name in read(block).jobs} == set(RUNS)


def test_what_the_page_says_is_refused_is_refused_for_that() -> None:
    assert REFUSED
    for block in REFUSED:
        with pytest.raises(RegistrationError) as refused:
            read(block)
        said = block.partition("\n")[0].removeprefix("# refused: ").split(", ")
        assert [fault.field for fault in refused.value.faults] == said


@pytest.mark.slow
def test_its_tests_run_in_a_project_of_their_own(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (ini,) = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    pytester.makefile(".ini", pytest=ini)
    pytester.makefile(".py", main="\n".join(EXAMPLES), test_page="\n".join(TESTS))
    told = pytester.runpytest_subprocess("--strict-markers", "-W", "error", "-p", "agent.sdk.pytest_chutes")
    told.assert_outcomes(passed=sum(block.count("def test_") for block in TESTS))


REFERENCE = "section of the reference"


def rows(head: str) -> dict[str, tuple[str, str]]:
    """Of the table under that head: what stands first, in the middle and last."""
    table = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]
    return {cell[0].strip("` "): (cell[1], cell[-1].strip("` ")) for cell in cells}


def test_the_table_of_parameters_is_the_decorators() -> None:
    signature = inspect.signature(Chute.job).parameters
    taken = [name for name, each in signature.items() if name != "self" and each.kind is not each.VAR_KEYWORD]
    assert sorted(rows("parameter")) == sorted(taken)


def test_the_table_of_members_is_the_platforms() -> None:
    assert sorted(name.partition("(")[0] for name in rows("member")) == sorted(MEMBERS)


def test_the_table_of_the_runner_is_its_own() -> None:
    signature = inspect.signature(LocalRunner).parameters
    assert sorted(rows("`LocalRunner(chute, …)`")) == sorted(set(signature) - {"chute"})


@pytest.mark.parametrize(
    ("head", "name"), [(head, name) for head in ("parameter", "member", REFERENCE) for name in rows(head)]
)
def test_each_row_leads_to_a_test_that_is_there(head: str, name: str) -> None:
    link = re.fullmatch(r"\[(\w+)\]\(\.\./(tests/[\w/]+/test_\w+\.py)\)", rows(head)[name][1])
    assert link is not None
    assert re.search(rf"^(async )?def {link[1]}\(", (ROOT / link[2]).read_text(), re.MULTILINE)


def test_the_table_of_sections_leads_to_chapters_and_examples_that_are_there() -> None:
    chapters = {slug(title) for title in re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)}
    shown = "\n".join(middle for middle, _ in rows(REFERENCE).values())
    anchors = re.findall(r"\(#([^)]+)\)", shown)
    examples = re.findall(r"`(examples/[a-z_]+)`", shown)
    assert anchors
    assert examples
    assert [anchor for anchor in anchors if anchor not in chapters] == []
    assert [name for name in examples if not (ROOT / name / "main.py").is_file()] == []


def slug(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_table_of_sections_has_each_parameter_that_the_reference_has_a_section_for() -> None:
    said = [name.partition(":")[0] for name in rows(REFERENCE) if ":" in name]
    assert said == ["ports", "timeout", "upload", "ssh"]


def test_every_example_for_authors_is_named_on_the_page() -> None:
    examples = {f"examples/{file.parent.name}" for file in (ROOT / "examples").glob("*/main.py")}
    assert {name for name in examples if f"`{name}`" not in PAGE} == set()


def test_its_commands_have_the_options_that_it_writes() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("gpu-agent ")]
    assert len(lines) == 5
    for line in lines:
        words = line.partition("  #")[0].split()[1:]
        told = CliRunner().invoke(app, [*words[:2], "--help"], env={"COLUMNS": "200"}).output
        assert [word for word in words if word.startswith("--") and word not in told] == []


def test_the_signature_of_the_page_has_the_decorators_defaults() -> None:
    (written,) = re.findall(r"^`@chute\.job\((.*)\)`\.", PAGE, re.MULTILINE)
    said = {name: value for name, _, value in (part.partition("=") for part in written.split(", "))}
    defaults = {name: each.default for name, each in inspect.signature(Chute.job).parameters.items()}
    # An empty list would be shared by all jobs; an empty tuple says the same.
    assert {**said, "ports": "()"} == {name: _shown(defaults[name]) for name in said}


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
