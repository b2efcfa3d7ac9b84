"""What functions told, for people: each fact on a line of its own, whatever is in it, and nothing of jobs that call none."""

import copy
from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from agent.cli.show.events import event_line
from agent.cli.show.functions import metric_text, percent_text, progress_text
from agent.cli.show.jobs import job_view, jobs_table

NOW = 1_900_000_000.0
TIME = "2030-03-17T17:46:40.000Z"
NUMBERS = {"count": 2, "sum": 1.5, "min": 0.5, "max": 1.0, "last": 1.0, "points": [], "labels": None, "other_labels": 0}  # fmt: skip
JOB: dict[str, Any] = {
    "id": "0190aaaa-bbbb-7000-8000-000000000001",
    "name": None,
    "owner": "alice",
    "phase": "finished",
    "outcome": "succeeded",
    "reason": None,
    "attempt": 1,
    "attempts": [],
    "gpus": [],
    "ports": [],
    "queue": "default",
    "priority": 0,
    "labels": {},
    "created_at": TIME,
    "chute": {"name": "digits", "version": "0190cccc", "function": "train"},
    "parent": "0190dddd",
    "children": ["0190eeee"],
    "progress": {"percent": 62.4, "message": "epoch 30"},
    "statuses": {"part 1": "done"},
    "metrics": {"accuracy": NUMBERS},
    "result": {"epochs": 30},
    "result_bytes": 13,
    "result_note": None,
    "error": None,
    "spec": {
        "image": "python",
        "command": ["/.agent/sdk/chutes_launch.py"],
        "entrypoint": ["python3"],
        "gpus": {"count": 0},
        "retry": {"count": 0},
    },
}


def drawn(what: RenderableType, width: int = 80) -> list[str]:
    file = StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(what)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def shown(**changes: object) -> dict[str, str]:
    """The facts of the job by their names."""
    lines = drawn(job_view({**copy.deepcopy(JOB), **changes}, NOW), 200)
    return {line.split(" ", 1)[0]: line.split(" ", 1)[-1].strip() for line in lines}


def test_what_a_function_told_is_shown_fact_by_fact() -> None:
    facts = shown()
    assert {name: facts[name] for name in ("function", "parent", "children", "statuses", "result")} == {
        "function": "digits/train, version 0190cccc",
        "parent": "0190dddd",
        "children": "0190eeee",
        "statuses": "part 1: done",
        "result": '{"epochs": 30}',
    }
    assert facts["progress"] == "62%  epoch 30"
    assert facts["metrics"] == "accuracy: 2 points, last 1, 0.5 to 1"
    assert "command" not in facts


def test_a_job_without_a_function_has_none_of_it() -> None:
    facts = shown(chute=None)
    assert not {"function", "progress", "result", "metrics"} & set(facts)
    assert facts["command"] == "python3 /.agent/sdk/chutes_launch.py"


def test_a_list_names_a_job_by_its_chute_and_function() -> None:
    lines = drawn(jobs_table([JOB], NOW, 80))
    assert lines[1].split()[1] == "digits/train"
    described = {**JOB, "chute": {**JOB["chute"], "function": None}}
    assert "digits (described)" in drawn(jobs_table([described], NOW, 80))[1]
    assert "digits (its cords)" in drawn(jobs_table([{**described, "kind": "cords"}], NOW, 80))[1]


def test_a_result_too_large_for_the_answer_says_where_it_is() -> None:
    facts = shown(result=None, result_bytes=5 << 20)
    assert facts["result"] == f"5.0 MiB: GET /v1/jobs/{JOB['id']}/result"


def test_a_function_that_returned_nothing_has_a_result_that_is_null() -> None:
    assert shown(result=None, result_bytes=4)["result"] == "null"
    assert "result" not in shown(result=None, result_bytes=None)


def test_what_was_raised_is_shown_with_its_traceback() -> None:
    error = {"type": "ValueError", "message": "no", "traceback": "Traceback …\nValueError: no\x1b[2J\n"}
    lines = drawn(job_view({**JOB, "error": error}, NOW))
    assert lines[-2:] == ["Traceback …", "ValueError: no\\x1b[2J"]
    lines = drawn(job_view({**JOB, "error": {**error, "traceback": None}}, NOW))
    assert lines[-1] == "ValueError: no"


def test_a_metric_of_texts_is_told_by_their_counts() -> None:
    texts = {**NUMBERS, "count": 0, "labels": {"well": 3, "badly": 1}, "other_labels": 2}
    assert metric_text(texts) == "well 3, badly 1, others 2"


def test_of_many_some_are_shown_and_the_others_counted() -> None:
    lines = drawn(job_view({**JOB, "children": [f"child-{n:02}" for n in range(20)]}, NOW))
    assert len([line for line in lines if "child-" in line]) == 8
    assert any(line.strip() == "and 12 more" for line in lines)


@given(
    st.none() | st.floats(0, 100) | st.integers(0, 100), st.none() | st.text(max_size=200), st.integers(0, 30)
)
def test_progress_is_one_line_whatever_was_told(percent: float | None, message: str | None, bar: int) -> None:
    text = progress_text({"percent": percent, "message": message}, bar).plain
    assert not set("\n\r\x1b") & set(text)


def test_an_event_of_progress_reads_as_progress() -> None:
    event = {"seq": 5, "n": 5, "job": JOB["id"], "at": TIME, "type": "job.progress", "data": JOB["progress"]}
    (line,) = drawn(event_line(event))
    assert line.endswith("0190aaaa-bbbb  62%  epoch 30")


def test_a_running_function_says_how_far_it_is_and_one_that_has_ended_does_not() -> None:
    running = {**JOB, "outcome": None, "progress": {"percent": 41.6, "message": None}}
    assert (percent_text(running), percent_text({**running, "outcome": "failed"})) == ("42%", None)
