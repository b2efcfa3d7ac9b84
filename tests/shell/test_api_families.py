"""Jobs that came of one job, over the API: drawn as a tree, cancelled together, and what is another's does not exist."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.schemas import component_schemas
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Outcome, Viewer
from agent.errors import Phase
from agent.interfaces import FamilyCancelledError, StoreUnavailableError
from agent.jobs.intake import Submission
from tests.shell.api_world import ApiWorld, api_world, running, until

VERSION = "22222222-0000-7000-8000-000000000001"
CALL = FunctionCall("trainer", VERSION, "step_1", "main.py")
BODY: dict[str, object] = {"image": "busybox"}
SENDS = {"outputs": {"upload": {"to": "put", "url": "https://example.org/{path}"}}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def accept(
    world: ApiWorld, parent: Job | None = None, function: str = "step_1", owner: str = "alice", **spec: object
) -> Job:
    depth = 0 if parent is None or parent.call is None else parent.call.depth + 1
    call = replace(CALL, function=function, parent=parent and parent.id, depth=depth)
    return (await world.intake.accept(owner, Submission({**BODY, **spec}, Kind.FUNCTION, call, b"{}"))).job


async def chain(world: ApiWorld, **spec: object) -> tuple[Job, Job, Job]:
    first = await accept(world, **spec)
    second = await accept(world, first, "step_2", **spec)
    return first, second, await accept(world, second, "step_3", **spec)


async def row(world: ApiWorld, job: Job) -> Job:
    found = await world.store.read(job.id)
    assert found is not None
    return found


async def stop_causes(world: ApiWorld, *jobs: Job) -> list[str | None]:
    rows = [await row(world, job) for job in jobs]
    return [None if one.job_stop is None else one.job_stop.cause.value for one in rows]


# the tree


async def test_a_tree_has_the_job_and_what_is_below_it_in_the_order_of_drawing(world: ApiWorld) -> None:
    first, second, third = await chain(world)
    fourth = await accept(world, first, "other")
    tree = (await world.call("GET", f"/v1/jobs/{first.id}/tree")).json
    assert [(item["id"], item["depth"], item["function"]) for item in tree["items"]] == [
        (first.id, 0, "step_1"),
        (second.id, 1, "step_2"),
        (third.id, 2, "step_3"),
        (fourth.id, 1, "other"),
    ]
    assert (tree["root"], tree["truncated"]) == (first.id, False)
    schema = component_schemas()["JobTree"]
    assert list(tree) == schema["required"]
    assert list(tree["items"][0]) == schema["properties"]["items"]["items"]["required"]  # type: ignore[index] # JSON


async def test_a_job_in_the_middle_is_the_first_of_its_tree_and_names_the_topmost(world: ApiWorld) -> None:
    first, second, third = await chain(world)
    await world.finish(first.id)
    tree = (await world.call("GET", f"/v1/jobs/{second.id.upper()}/tree")).json
    assert [item["id"] for item in tree["items"]] == [second.id, third.id]
    assert (tree["root"], tree["items"][0]["parent"]) == (first.id, first.id)


async def test_a_container_job_is_a_tree_of_one(world: ApiWorld) -> None:
    job_id = await world.submit(name="alone")
    (item,) = (await world.call("GET", f"/v1/jobs/{job_id}/tree")).json["items"]
    assert (item["name"], item["function"], item["parent"], item["phase"]) == ("alone", None, None, "queued")


async def test_anothers_tree_does_not_exist_and_nothing_of_his_is_in_ones_own(world: ApiWorld) -> None:
    first = await accept(world)
    stranger = await accept(world, first, owner="mallory")
    theirs = await world.new_token("mallory")
    for path, token in ((f"/v1/jobs/{first.id}/tree", theirs), ("/v1/jobs/nobody/tree", None)):
        reply = await world.call("GET", path, token=token)
        assert (reply.status, reply.json["code"]) == (404, "job_not_found")
    assert [item["id"] for item in (await world.call("GET", f"/v1/jobs/{first.id}/tree")).json["items"]] == [
        first.id
    ]
    tree = (await world.call("GET", f"/v1/jobs/{stranger.id}/tree", token=theirs)).json
    assert tree["root"] == stranger.id


# cancel


async def test_a_cancel_alone_leaves_the_children_as_they_are(world: ApiWorld) -> None:
    first, second, third = await chain(world)
    reply = await world.call("POST", f"/v1/jobs/{first.id}/cancel")
    assert (reply.status, reply.json["asked"]) == (202, 1)
    assert await stop_causes(world, first, second, third) == ["cancelled", None, None]
    await accept(world, await row(world, first), "after")


@pytest.mark.parametrize(("query", "body"), [("?children=true", None), ("", {"children": True, "grace": 7})])
async def test_a_cancel_with_children_asks_all_of_them_and_wakes_their_runners(
    world: ApiWorld, query: str, body: object
) -> None:
    first, second, third = await chain(world)
    world.woken.clear()
    reply = await world.call("POST", f"/v1/jobs/{first.id}/cancel{query}", body)
    assert (reply.status, reply.json["id"], reply.json["asked"]) == (202, first.id, 3)
    assert await stop_causes(world, first, second, third) == [
        "cancelled",
        "parent_cancelled",
        "parent_cancelled",
    ]
    assert world.woken == [first.id, second.id, third.id]
    told = await world.store.events(Viewer("alice"), 0, first.id, 99)
    assert [event.data["jobs"] for event in told if event.type == "job.children_stop_requested"] == [2]
    again = await world.call("POST", f"/v1/jobs/{first.id}/cancel{query}", body)
    assert (again.status, again.json["asked"]) == (202, 3)
    assert len(await world.store.events(Viewer("alice"), 0, first.id, 99)) == len(told)


async def test_a_cancel_with_children_of_one_in_the_middle_leaves_those_above_it(world: ApiWorld) -> None:
    first, second, third = await chain(world)
    reply = await world.call("POST", f"/v1/jobs/{second.id}/cancel?children=true")
    assert reply.json["asked"] == 2
    assert await stop_causes(world, first, second, third) == [None, "cancelled", "parent_cancelled"]


async def test_none_of_them_starts_anything_after_it_however_it_was_under_way(world: ApiWorld) -> None:
    first, second, third = await chain(world)
    await world.call("POST", f"/v1/jobs/{second.id}/cancel")
    await world.call("POST", f"/v1/jobs/{first.id}/cancel?children=true")
    for parent in (first, second, third):
        with pytest.raises(FamilyCancelledError):
            await accept(world, parent, "late")
    assert len(await world.store.job_ids()) == 3
    assert len(list((world.state / "jobs").iterdir())) == 3


async def test_of_a_job_that_has_ended_the_children_are_asked(world: ApiWorld) -> None:
    first, second, third = await chain(world)
    await world.finish(first.id)
    alone = await world.call("POST", f"/v1/jobs/{first.id}/cancel")
    assert (alone.status, alone.json["code"]) == (409, "job_finished")
    world.woken.clear()
    reply = await world.call("POST", f"/v1/jobs/{first.id}/cancel?children=true")
    assert (reply.status, reply.json["asked"], reply.json["outcome"]) == (202, 2, "succeeded")
    assert await stop_causes(world, first, second, third) == [None, "parent_cancelled", "parent_cancelled"]
    assert world.woken == [second.id, third.id]


async def test_where_all_have_ended_there_is_nothing_to_stop(world: ApiWorld) -> None:
    jobs = await chain(world)
    for job in jobs:
        await world.finish(job.id)
    reply = await world.call("POST", f"/v1/jobs/{jobs[0].id}/cancel?children=true")
    assert (reply.status, reply.json["code"]) == (409, "job_finished")
    assert "all that it started" in reply.json["detail"]


async def test_of_one_whose_outputs_leave_the_upload_is_ended_and_the_outcome_stays(world: ApiWorld) -> None:
    first = await accept(world)
    leaving = await accept(world, first, **SENDS)
    await world.store.save(
        replace(await row(world, leaving), phase=Phase.UPLOADING, outcome=Outcome.SUCCEEDED)
    )
    reply = await world.call("POST", f"/v1/jobs/{first.id}/cancel?children=true")
    assert reply.json["asked"] == 2
    after = await row(world, leaving)
    assert after.upload_stopped_at is not None
    assert (after.outcome, after.job_stop) == (Outcome.SUCCEEDED, None)


async def test_a_container_job_may_be_cancelled_with_children_that_it_has_not(world: ApiWorld) -> None:
    job_id = await world.submit()
    reply = await world.call("POST", f"/v1/jobs/{job_id}/cancel?children=true")
    assert (reply.status, reply.json["asked"]) == (202, 1)


async def test_anothers_family_is_not_to_be_cancelled(world: ApiWorld) -> None:
    first, second, _ = await chain(world)
    theirs = await world.new_token("mallory")
    reply = await world.call("POST", f"/v1/jobs/{first.id}/cancel?children=true", token=theirs)
    assert (reply.status, reply.json["code"]) == (404, "job_not_found")
    assert await stop_causes(world, first, second) == [None, None]


@pytest.mark.parametrize(
    ("query", "body"),
    [("?children=maybe", None), ("", {"children": 1}), ("", {"children": "true"}), ("", {"child": True})],
)
async def test_a_bad_cancel_is_refused(world: ApiWorld, query: str, body: object) -> None:
    first, *_ = await chain(world)
    reply = await world.call("POST", f"/v1/jobs/{first.id}/cancel{query}", body)
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert await stop_causes(world, first) == [None]


async def test_a_cancel_that_can_not_be_written_asks_none_of_them(world: ApiWorld) -> None:
    first, second, third = await chain(world)

    async def fail(step: str) -> None:
        if step == "change_family":
            raise StoreUnavailableError("disk I/O error")

    world.store.before = fail
    assert (await world.call("POST", f"/v1/jobs/{first.id}/cancel?children=true")).status == 503
    assert await stop_causes(world, first, second, third) == [None, None, None]


async def test_a_family_ends_as_cancelled_each_by_its_own_reason(world: ApiWorld) -> None:
    async with running(world):
        jobs = await chain(world, not_before="2100-01-01T00:00:00Z")
        async with asyncio.timeout(10):
            reply = await world.call("POST", f"/v1/jobs/{jobs[0].id}/cancel?children=true&grace=0")
            assert reply.json["asked"] == 3
            await until(lambda: all(job.phase is Phase.FINISHED for job in world.store.jobs()), 10)
    assert [(job.outcome, job.reason and job.reason.code) for job in world.store.jobs()] == [
        (Outcome.CANCELLED, "cancelled"),
        (Outcome.CANCELLED, "parent_cancelled"),
        (Outcome.CANCELLED, "parent_cancelled"),
    ]
