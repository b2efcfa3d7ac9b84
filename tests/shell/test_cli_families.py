"""show and stop of jobs that started each other, against the API."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.handlers import families as handlers
from agent.cli import families, jobs
from agent.cli.screen import Form
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Outcome, Viewer
from agent.core.reasons import reason
from agent.errors import Phase
from agent.jobs.intake import Submission
from tests.fakes.engine import Program
from tests.shell.cli_world import CliWorld, cli_world

CALL = FunctionCall("trainer", "22222222-0000-7000-8000-000000000001", "step_1", "main.py")
LATER = {"image": "busybox", "not_before": "2090-01-01T00:00:00Z"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.engine.program = Program()
        yield made


async def step(world: CliWorld, function: str, parent: Job | None = None) -> Job:
    call = replace(CALL, function=function, parent=parent and parent.id)
    return (await world.api.intake.accept("alice", Submission(LATER, Kind.FUNCTION, call, b"{}"))).job


async def chain(world: CliWorld) -> tuple[Job, Job, Job]:
    first = await step(world, "step_1")
    second = await step(world, "step_2", first)
    return first, second, await step(world, "step_final", second)


async def end_badly(world: CliWorld, job: Job) -> None:
    row = await world.api.store.read(job.id)
    assert row is not None
    ended = replace(row, phase=Phase.FINISHED, outcome=Outcome.FAILED, finished_at=world.api.clock.now())
    await world.api.store.save(replace(ended, reason=reason("function_raised")))


async def test_show_draws_the_jobs_that_it_belongs_to_and_marks_it(world: CliWorld) -> None:
    first, second, third = await chain(world)
    code, seen = await world.run(jobs.show, second.id)
    lines = [line.split() for line in seen.out.getvalue().splitlines()[-3:]]
    assert code == 0
    assert lines == [
        ["○", "step_1", first.id[:36], "queued", "-"],
        ["└─", "○", "step_2", "◀", second.id[:36], "queued", "-"],
        ["└─", "○", "step_final", third.id[:36], "queued", "-"],
    ]


async def test_show_of_a_failed_step_says_that_it_was_the_last(world: CliWorld) -> None:
    first = await step(world, "step_1")
    second = await step(world, "step_2", first)
    await end_badly(world, second)
    _, seen = await world.run(jobs.show, first.id)
    told = seen.out.getvalue().splitlines()
    assert told[-2].split()[:3] == ["└─", "✗", "step_2"]
    assert told[-1].strip() == "└─ failed; there is no job that it started"


async def test_show_of_a_first_step_that_failed_says_that_nothing_came_of_it(world: CliWorld) -> None:
    first = await step(world, "step_1")
    await end_badly(world, first)
    _, seen = await world.run(jobs.show, first.id)
    assert seen.out.getvalue().splitlines()[-1] == "└─ failed; there is no job that it started"


async def test_show_of_a_job_of_its_own_draws_nothing_and_for_scripts_the_job_alone(world: CliWorld) -> None:
    alone = await step(world, "step_1")
    _, seen = await world.run(jobs.show, alone.id)
    assert "○" not in seen.out.getvalue()
    first, *_ = await chain(world)
    _, seen = await world.run(jobs.show, first.id, form=Form.JSON)
    assert json.loads(seen.out.getvalue())["id"] == first.id


async def test_tree_alone_is_from_the_topmost_down(world: CliWorld) -> None:
    first, second, third = await chain(world)
    _, seen = await world.run(jobs.show, third.id, tree=True)
    assert len(seen.out.getvalue().splitlines()) == 3
    _, seen = await world.run(jobs.show, third.id, tree=True, form=Form.JSON)
    tree = json.loads(seen.out.getvalue())
    assert [item["id"] for item in tree["items"]] == [first.id, second.id, third.id]


async def test_of_a_large_family_show_draws_what_came_of_the_job_and_says_how_to_see_all(
    world: CliWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, _ = await chain(world)
    monkeypatch.setattr(families, "DRAWN", 2)
    _, seen = await world.run(jobs.show, second.id)
    *_, before, last = seen.out.getvalue().splitlines()
    assert "step_final" in before
    assert "step_1" not in seen.out.getvalue()
    assert last == f"all of them: gpu-agent show --tree {second.id}"


@pytest.mark.parametrize("question", [1, 2])
async def test_a_job_whose_first_one_is_forgotten_meanwhile_is_shown_with_what_is_below_it(
    world: CliWorld, question: int
) -> None:
    first, second, _ = await chain(world)
    await end_badly(world, first)
    asked = 0

    async def forget(call: str) -> None:
        nonlocal asked
        asked += call == "family"
        if call == "family" and asked == question:
            await world.api.store.forget(first.id, Viewer("alice"))

    world.api.store.before = forget
    code, seen = await world.run(jobs.show, second.id)
    assert (code, "step_1" in seen.out.getvalue().partition("created")[2]) == (0, False)
    assert "step_final" in seen.out.getvalue()


async def test_stop_with_children_stops_all_of_them_and_says_how_many(world: CliWorld) -> None:
    first, *_ = await chain(world)
    code, seen = await world.run(jobs.stop, [first.id], children=True, wait=True)
    assert (code, seen.out.getvalue()) == (0, f"{first.id} cancelled; 3 jobs asked to stop\n")
    assert {job.phase for job in world.api.store.jobs()} == {Phase.FINISHED}


async def test_stop_alone_leaves_the_children(world: CliWorld) -> None:
    first, second, third = await chain(world)
    _, seen = await world.run(jobs.stop, [first.id], wait=True)
    assert seen.out.getvalue() == f"{first.id} cancelled\n"
    rows = [await world.api.store.read(job.id) for job in (second, third)]
    assert [row and row.job_stop for row in rows] == [None, None]


async def test_stop_with_children_of_a_job_that_has_ended_says_so(world: CliWorld) -> None:
    first, *_ = await chain(world)
    await end_badly(world, first)
    _, seen = await world.run(jobs.stop, [first.id], children=True)
    assert seen.out.getvalue() == f"{first.id} failed; 2 jobs asked to stop\n"


async def test_stop_that_does_not_wait_for_all_of_them_says_so(
    world: CliWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MOST_RELATIVES", 2)
    first, *_ = await chain(world)
    _, seen = await world.run(jobs.stop, [first.id], children=True, wait=True)
    assert "more of them than the 2 that were waited for" in " ".join(seen.err.getvalue().split())
