"""Jobs that came of one job, drawn: a line each within the screen, who stands below whom, and which step was the last."""

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.cli.show.families import family_stopped_text, family_text

NOW = 1_900_000_100.0
TIME, LATER = "2030-03-17T17:46:40.000Z", "2030-03-17T17:46:52.000Z"


def item(number: int, depth: int, **changes: object) -> dict[str, Any]:
    return {
        "id": f"{number:08x}-aaaa-7000-8000-000000000001",
        "parent": None,
        "depth": depth,
        "name": None,
        "function": f"step_{number}",
        "phase": "finished",
        "outcome": "succeeded",
        "reason_code": None,
        "attempt": 1,
        "created_at": TIME,
        "started_at": TIME,
        "finished_at": LATER,
        **changes,
    }


RUNS = {"phase": "running", "outcome": None, "finished_at": None}
WAITS = {"phase": "queued", "outcome": None, "started_at": None, "finished_at": None}
FAILED = {"outcome": "failed", "reason_code": "function_raised"}


def drawn(
    items: list[dict[str, Any]], here: int = 0, *, cut: bool = False, most: int | None = None
) -> list[str]:
    tree = {"root": items[0]["id"], "items": items, "truncated": cut}
    file = StringIO()
    text = family_text(tree, items[here]["id"], NOW, 80, most)
    Console(file=file, width=80, highlight=False, markup=False, emoji=False).print(text)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_tree_says_who_started_whom_how_each_is_and_for_how_long() -> None:
    items = [item(1, 0), item(2, 1, **RUNS, attempt=2), item(3, 2, **WAITS), item(4, 1), item(5, 2)]
    assert drawn(items, here=1) == [
        "✓ step_1          00000001-aaaa  succeeded     12s",
        "├─ ● step_2 ◀     00000002-aaaa  running        1m  attempt 2",
        "│  └─ ○ step_3    00000003-aaaa  queued          -",
        "└─ ✓ step_4       00000004-aaaa  succeeded     12s",
        "   └─ ✓ step_5    00000005-aaaa  succeeded     12s",
    ]


def test_a_failed_step_says_that_nothing_came_of_it() -> None:
    told = drawn([item(1, 0), item(2, 1, **FAILED), item(3, 1)])
    assert told[1:3] == [
        "├─ ✗ step_2       00000002-aaaa  failed        12s  function_raised",
        "│  └─ failed; there is no job that it started",
    ]


@pytest.mark.parametrize(
    ("items", "cut"),
    [
        ([item(1, 0, **FAILED), item(2, 1)], False),  # it has started one
        ([item(1, 0, **FAILED)], True),  # nobody knows
        ([item(1, 0, **FAILED, function=None)], False),  # a container job starts none
        ([item(1, 0, outcome="cancelled")], False),  # who did that knows
        ([item(1, 0, **RUNS)], False),  # it may still
    ],
)
def test_of_no_other_job_is_it_said(items: list[dict[str, Any]], *, cut: bool) -> None:
    assert not [line for line in drawn(items, cut=cut) if "there is no job" in line]


def test_what_is_left_out_is_counted() -> None:
    items = [item(number, min(number, 1)) for number in range(7)]
    assert drawn(items, most=3)[-1] == "and 4 more"
    assert drawn(items, most=3, cut=True)[-1] == "and more than 4 more"
    assert drawn(items, cut=True)[-1] == "and more, which are not told here"


def test_outputs_that_leave_are_told() -> None:
    assert drawn([item(1, 0, phase="uploading", finished_at=None)])[0].endswith("uploading")


DEPTHS = st.lists(st.integers(0, 40), max_size=30)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(DEPTHS, TEXTS, st.sampled_from([RUNS, WAITS, FAILED, {}]), st.integers(1, 10**6))
def test_each_job_has_one_line_that_fits_whatever_is_in_it(
    steps: list[int], name: str, state: dict[str, object], attempt: int
) -> None:
    items = [item(0, 0, name=name)]
    for number, step in enumerate(steps, start=1):
        depth = 1 + min(step, items[-1]["depth"])
        items.append(item(number, depth, name=name, attempt=attempt, **state))
    tree = {"root": items[0]["id"], "items": items, "truncated": False}
    lines = family_text(tree, items[-1]["id"], NOW, 80).plain.split("\n")
    alone = [line for line in lines if "there is no job" in line]
    assert len(lines) == len(items) + len(alone)
    assert max(map(len, lines)) <= 80
    assert sum(" ◀ " in line for line in lines) >= 1


def test_a_stop_says_how_many_were_asked() -> None:
    assert family_stopped_text({"outcome": None}, 3) == "stopping; 3 jobs asked to stop"
    assert family_stopped_text({"outcome": "failed"}, 1) == "failed; 1 job asked to stop"
