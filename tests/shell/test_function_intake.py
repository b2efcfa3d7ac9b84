"""A function's way in: what its call is made of is on disk when it is accepted, and it is seen as any other job is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.function import FunctionCall
from agent.core.job import Kind
from agent.interfaces import BodyConflictError
from agent.jobs.intake import Submission
from agent.spec import SpecRefusedError
from tests.shell.api_world import ApiWorld, api_world

VERSION = "22222222-0000-7000-8000-000000000001"
CALL = FunctionCall("trainer", VERSION, "train", "main.py")
BODY = {"image": "busybox", "entrypoint": ["python3"], "command": ["/.agent/sdk/chutes_launch.py"]}
TRAIN = Submission(BODY, Kind.FUNCTION, CALL, b'{"epochs":3}')
DESCRIBE = Submission(BODY, Kind.DESCRIBE, FunctionCall("trainer", VERSION, None, "main.py"), b"null")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def test_an_accepted_call_has_its_row_and_its_payload(world: ApiWorld) -> None:
    job = (await world.intake.accept("alice", TRAIN)).job
    assert (job.owner, job.kind, job.call) == ("alice", Kind.FUNCTION, CALL)
    assert await world.folders.payload(job.id) == b'{"epochs":3}'
    assert world.woken == [job.id]


async def test_a_call_whose_spec_is_refused_leaves_nothing(world: ApiWorld) -> None:
    with pytest.raises(SpecRefusedError):
        await world.intake.accept("alice", Submission({"image": ""}, Kind.FUNCTION, CALL, b"null"))
    assert await world.folders.ids() == set()


async def test_the_same_call_under_an_id_is_the_first_one_and_what_makes_it_the_same_may_be_said(
    world: ApiWorld,
) -> None:
    asked = Submission(BODY, Kind.FUNCTION, CALL, b"1", job_id=VERSION, digest="what the client sent")
    first = await world.intake.accept("alice", asked)
    composed_anew = Submission(
        {**BODY, "queue": "slow"}, Kind.FUNCTION, CALL, b"1", VERSION, None, asked.digest
    )
    again = await world.intake.accept("alice", composed_anew)
    assert (again.is_replay, again.job) == (True, first.job)
    with pytest.raises(BodyConflictError):
        await world.intake.accept("alice", Submission(BODY, Kind.FUNCTION, CALL, b"1", VERSION))


async def test_a_describe_is_no_job_of_a_list_unless_it_is_asked_for(world: ApiWorld) -> None:
    function = (await world.intake.accept("alice", TRAIN)).job
    describe = (await world.intake.accept("alice", DESCRIBE)).job
    shown = {
        query: [item["id"] for item in (await world.call("GET", f"/v1/jobs{query}")).json["items"]]
        for query in ("", "?kind=describe", "?kind=function")
    }
    assert shown == {"": [function.id], "?kind=describe": [describe.id], "?kind=function": [function.id]}
    assert (await world.call("GET", f"/v1/jobs/{describe.id}")).json["kind"] == "describe"
    assert (describe.spec.queue, function.spec.queue) == ("describe", "default")
