"""A function as the API shows it: what it told, what it returned, why it failed, whose child it is."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.schemas import component_schemas
from agent.api.showing import INLINE_BYTES
from agent.core.finish import Fault, Finish, dump_header
from agent.core.function import FaultKind, FunctionCall, Report, ReportStatus
from agent.core.job import Job, Kind, Run
from agent.core.metrics import MOST_LABELS, MOST_NAMES, Metric
from agent.core.told import MOST_STATUS_CHARACTERS, MOST_TASKS, Progress
from agent.interfaces import Telling
from agent.jobs.intake import Submission
from tests.shell.api_world import ApiWorld, api_world

VERSION = "22222222-0000-7000-8000-000000000001"
CALL = FunctionCall("trainer", VERSION, "train", "main.py")
BODY = {"image": "busybox"}
RETURNED = Finish(ReportStatus.SUCCEEDED, "its repr")
FAULT = Fault(FaultKind.RAISED, "ValueError", "no such column", "Traceback …", 404, "gone")
# One that a client's own reader may give up on.
DEEP = b"[" * 500 + b"]" * 500
RAISED = Finish(ReportStatus.FAILED, None, FAULT)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def accept(world: ApiWorld, call: FunctionCall = CALL, owner: str = "alice") -> Job:
    return (await world.intake.accept(owner, Submission(BODY, Kind.FUNCTION, call, b"{}"))).job


async def ended(world: ApiWorld, finish: Finish, result: bytes = b"") -> Job:
    job = await accept(world)
    part = await world.folders.report_part(job.id, 1)
    await part.write(dump_header(finish) + b"\n" + result)
    await part.commit()
    await world.store.save(replace(job, run=Run(report=finish.report)))
    return job


async def test_a_function_has_the_names_of_any_job_and_its_call(world: ApiWorld) -> None:
    job = await accept(world, replace(CALL, parent="p", depth=1))
    shown = (await world.call("GET", f"/v1/jobs/{job.id}")).json
    assert list(shown) == component_schemas()["Job"]["required"]
    assert shown["chute"] == {"name": "trainer", "version": VERSION, "function": "train"}
    assert (shown["parent"], shown["children"], shown["kind"]) == ("p", [], "function")
    assert (shown["progress"], shown["statuses"], shown["metrics"]) == (None, {}, {})
    assert (shown["result"], shown["result_bytes"], shown["error"]) == (None, None, None)


async def test_what_it_told_is_shown_and_in_a_list_its_progress_alone(world: ApiWorld) -> None:
    job = await accept(world)
    loss, notes = Metric(), Metric()
    loss.add(3, 1.0)
    loss.add(2, 2.0)
    notes.add("ok", 1.0)
    told = Telling(job.id, 1, 1, Progress(50, "half"), {"a": "b"}, {"loss": loss, "notes": notes})
    await world.store.keep_told([told])
    shown = (await world.call("GET", f"/v1/jobs/{job.id}")).json
    assert (shown["progress"], shown["statuses"]) == ({"percent": 50, "message": "half"}, {"a": "b"})
    assert shown["metrics"]["loss"] == {
        "count": 2,
        "sum": 5,
        "min": 2,
        "max": 3,
        "last": 2,
        "points": [[1, 3], [2, 2]],
        "labels": None,
        "other_labels": 0,
    }
    assert shown["metrics"]["notes"]["labels"] == {"ok": 1}
    (listed,) = (await world.call("GET", "/v1/jobs")).json["items"]
    assert (listed["progress"], listed["statuses"], listed["metrics"]) == (shown["progress"], None, None)


async def test_a_page_of_jobs_that_tell_as_much_as_they_may_is_small(world: ApiWorld) -> None:
    notes = {}
    for number in range(MOST_NAMES):
        notes["n" * 190 + str(number)] = note = Metric()
        for label in range(MOST_LABELS):
            note.add("é" * 97 + str(label), 1.0)
    statuses = {"t" * 190 + str(number): "é" * MOST_STATUS_CHARACTERS for number in range(MOST_TASKS)}
    job = await accept(world)
    await world.store.keep_told([Telling(job.id, 1, 1, Progress(50, "half"), statuses, notes)])
    assert len((await world.call("GET", f"/v1/jobs/{job.id}")).raw) > 1 << 20
    assert len((await world.call("GET", "/v1/jobs")).raw) < 8 << 10


async def test_what_stopping_a_job_answers_has_neither_its_result_nor_its_series(world: ApiWorld) -> None:
    job = await accept(world)
    loss = Metric()
    loss.add(3, 1.0)
    await world.store.keep_told([Telling(job.id, 1, 1, None, {}, {"loss": loss})])
    stopped = (await world.call("POST", f"/v1/jobs/{job.id}/cancel")).json
    assert (stopped["metrics"]["loss"]["last"], stopped["metrics"]["loss"]["points"]) == (3, [])


async def test_a_result_is_in_the_job_and_not_in_a_list(world: ApiWorld) -> None:
    job = await ended(world, RETURNED, b'{"a": [1, null]}')
    shown = (await world.call("GET", f"/v1/jobs/{job.id}")).json
    assert (shown["result"], shown["result_bytes"], shown["result_note"]) == (
        {"a": [1, None]},
        16,
        "its repr",
    )
    (listed,) = (await world.call("GET", "/v1/jobs")).json["items"]
    assert (listed["result"], listed["result_bytes"]) == (None, None)


@pytest.mark.parametrize(("size", "is_inline"), [(INLINE_BYTES, True), (INLINE_BYTES + 1, False)])
async def test_a_large_result_is_fetched_by_itself(world: ApiWorld, size: int, *, is_inline: bool) -> None:
    result = b'"' + b"x" * (size - 2) + b'"'
    job = await ended(world, RETURNED, result)
    shown = (await world.call("GET", f"/v1/jobs/{job.id}")).json
    assert (shown["result"] is not None, shown["result_bytes"]) == (is_inline, size)
    fetched = await world.call("GET", f"/v1/jobs/{job.id}/result")
    assert (fetched.status, fetched.raw) == (200, result)
    assert fetched.headers["Content-Type"] == "application/json"
    assert fetched.headers["X-Content-Type-Options"] == "nosniff"
    assert fetched.headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize(
    "lie", [b"<html>", b"[" * 100_000, b"", b'{"a":NaN}', b"\xff", b"[1e999]", b"9" * 5000, DEEP]
)
async def test_a_result_that_is_no_json_is_null_and_can_be_fetched_as_it_was_sent(
    world: ApiWorld, lie: bytes
) -> None:
    job = await ended(world, RETURNED, lie)
    assert (await world.call("GET", f"/v1/jobs/{job.id}")).json["result"] is None
    assert (await world.call("GET", f"/v1/jobs/{job.id}/result")).raw == lie


async def test_an_error_is_shown_with_its_traceback_and_in_a_list_without(world: ApiWorld) -> None:
    job = await ended(world, RAISED)
    shown = (await world.call("GET", f"/v1/jobs/{job.id}")).json
    assert shown["error"] == {
        "type": "ValueError",
        "message": "no such column",
        "traceback": "Traceback …",
        "status_code": 404,
        "detail": "gone",
    }
    (listed,) = (await world.call("GET", "/v1/jobs")).json["items"]
    assert (listed["error"]["message"], listed["error"]["traceback"]) == ("no such column", None)
    assert (shown["result"], shown["result_bytes"]) == (None, None)


async def test_the_report_of_an_earlier_attempt_is_not_the_latest_ones(world: ApiWorld) -> None:
    job = await ended(world, RETURNED, b"1")
    row = await world.store.read(job.id)
    assert row is not None
    await world.store.save(replace(row, attempt=2, run=Run(report=Report(ReportStatus.FAILED))))
    shown = (await world.call("GET", f"/v1/jobs/{job.id}")).json
    assert (shown["result"], shown["error"]) == (None, None)


async def test_there_is_no_result_of_a_container_job_nor_of_a_function_that_has_not_returned(
    world: ApiWorld,
) -> None:
    for job_id in (await world.submit(), (await accept(world)).id, (await ended(world, RAISED)).id):
        reply = await world.call("GET", f"/v1/jobs/{job_id}/result")
        assert (reply.status, reply.json["code"]) == (404, "result_not_found")
    unread = await world.call("GET", "/v1/jobs/nobody/result")
    assert (unread.status, unread.json["code"]) == (404, "job_not_found")


async def test_anothers_result_does_not_exist(world: ApiWorld) -> None:
    job = await ended(world, RETURNED, b"1")
    reply = await world.call("GET", f"/v1/jobs/{job.id}/result", token=await world.new_token("mallory"))
    assert (reply.status, reply.json["code"]) == (404, "job_not_found")


async def test_the_children_of_a_job_are_shown_in_their_order(world: ApiWorld) -> None:
    parent = await accept(world)
    children = [(await accept(world, replace(CALL, parent=parent.id, depth=1))).id for _ in range(3)]
    assert (await world.call("GET", f"/v1/jobs/{parent.id}")).json["children"] == children
    listed = {item["id"]: item for item in (await world.call("GET", "/v1/jobs")).json["items"]}
    assert (listed[parent.id]["children"], listed[children[0]]["parent"]) == (children, parent.id)


async def test_a_head_of_a_result_tells_its_size(world: ApiWorld) -> None:
    job = await ended(world, RETURNED, json.dumps(list(range(100))).encode())
    reply = await world.call("HEAD", f"/v1/jobs/{job.id}/result")
    assert (reply.status, reply.headers["Content-Length"], reply.raw) == (200, "390", b"")
