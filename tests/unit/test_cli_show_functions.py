"""A function's job for people: how far it is, what it told, what it returned, why it failed; and nothing of it where there is none."""

from typing import Any

from agent.cli.show.functions import function_facts, function_name, percent_text

PLAIN: dict[str, Any] = {"id": "1", "chute": None, "progress": None, "outcome": None}
BARE: dict[str, Any] = {
    "id": "1",
    "outcome": None,
    "chute": {"name": "trainer", "version": "v1", "function": "train"},
    "parent": None,
    "children": [],
    "progress": None,
    "statuses": {},
    "metrics": {},
    "result": None,
    "result_bytes": None,
    "result_note": None,
    "error": None,
}
LOSS = {"count": 3, "sum": 6, "min": 1, "max": 3, "last": 1, "points": [], "labels": None, "other_labels": 0}
NOTE = {
    "count": 0,
    "sum": None,
    "min": None,
    "max": None,
    "last": None,
    "points": [],
    "labels": {"ok": 2},
    "other_labels": 0,
}


def facts(**changes: object) -> dict[str, str]:
    return {name: value for name, value in function_facts({**BARE, **changes}) if value}


def test_a_container_job_has_none_of_it() -> None:
    assert (function_facts(PLAIN), function_name(PLAIN), percent_text(PLAIN)) == ([], None, None)


def test_a_function_that_told_nothing_has_its_name_alone() -> None:
    assert facts() == {"function": "trainer/train", "version": "v1"}


def test_what_it_told_is_on_a_line_each() -> None:
    shown = facts(
        progress={"percent": 12.5, "message": "epoch 1"},
        statuses={"a": "done"},
        metrics={"loss": LOSS, "note": NOTE},
        parent="p",
        children=["c", "d"],
    )
    assert shown["progress"] == "12.5 % epoch 1"
    assert shown["statuses"] == "a: done"
    assert shown["metrics"] == "loss 1 (1 to 3, 3 values)\nnote ok: 2"
    assert (shown["started by"], shown["children"]) == ("p", "2 jobs")


def test_a_result_is_shown_short_and_a_large_one_by_where_it_is() -> None:
    assert facts(result={"a": 1}, result_bytes=8, result_note="its repr")["result"] == '{"a": 1} (its repr)'
    assert facts(result="x" * 999, result_bytes=1001)["result"].endswith("…")
    assert facts(result=None, result_bytes=4)["result"] == "null"
    assert "/v1/jobs/1/result" in facts(result=None, result_bytes=1 << 20)["result"]


def test_an_error_has_the_end_of_its_traceback_and_no_control_character_of_its_author() -> None:
    error = {
        "type": "ValueError",
        "message": "no\x1b[2J",
        "traceback": "Traceback\n  File\n\x07ValueError: no",
    }
    shown = facts(error=error)["error"]
    assert shown.splitlines()[0].startswith("ValueError: no")
    assert not {"\x1b", "\x07"} & set(shown)


def test_a_running_function_says_how_far_it_is_and_one_that_has_ended_does_not() -> None:
    running = {**BARE, "progress": {"percent": 41.6, "message": None}}
    assert (percent_text(running), percent_text({**running, "outcome": "failed"})) == ("42%", None)
