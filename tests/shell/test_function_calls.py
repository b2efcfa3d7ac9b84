"""What a running function may ask of other jobs: children once however often they are asked for, and nothing of anybody else's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from agent.core.children import child_id
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Viewer
from agent.core.policy import Limits
from agent.interfaces import StoreUnavailableError
from agent.interfaces.job_socket import Call, CallFault, CallRefusedError
from agent.jobs.function_calls import FunctionCalls
from agent.jobs.functions import Neighbours
from agent.jobs.functions.cord_calls import CordCalls
from agent.jobs.intake import Submission
from agent.spec import Fault
from tests.fakes.chutes import FakeChutes
from tests.fakes.host_keys import public_key
from tests.shell.api_world import ApiWorld, api_world

VERSION = "22222222-0000-7000-8000-000000000001"
CALL = FunctionCall("trainer", VERSION, "train", "main.py")


class Stage:
    """A parent, and what it asks."""

    def __init__(self, world: ApiWorld) -> None:
        self.world = world
        self.chutes = FakeChutes()
        self.under_way = CordCalls()
        self.cord_calls = ExitStack()
        self.calls = FunctionCalls(
            world.store, world.intake, self.chutes, self.write, lambda _job: [], self.under_way
        )

    async def write(self, job: Job) -> bytes:
        return json.dumps({"id": job.id}).encode()

    async def job(self, call: FunctionCall = CALL, owner: str = "alice", kind: Kind = Kind.FUNCTION) -> Job:
        return (
            await self.world.intake.accept(owner, Submission({"image": "busybox"}, kind, call, b"{}"))
        ).job

    async def start(
        self, parent: Job, name: object = "step", payload: bytes | None = b"{}", **fields: object
    ) -> str:
        return await self.calls.start(parent, Call("start_job", {"name": name, **fields}, payload))

    async def refusal(
        self, parent: Job, name: object = "step", payload: bytes | None = b"{}", **fields: object
    ) -> CallFault:
        with pytest.raises(CallRefusedError) as refused:
            await self.start(parent, name, payload, **fields)
        assert str(refused.value)
        return refused.value.fault


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with api_world(tmp_path, limits=Limits(children=3, depth=2)) as world:
        yield Stage(world)


async def test_both_are_the_port(stage: Stage) -> None:
    port: Neighbours = stage.calls
    assert port.ports(await stage.job()) == []


async def test_a_child_is_of_its_parents_owner_chute_and_version_and_one_deeper(stage: Stage) -> None:
    parent = await stage.job()
    started = await stage.start(parent, payload=b'{"a":1}')
    child = await stage.world.store.read(started)
    assert child is not None
    assert (child.owner, child.kind) == ("alice", Kind.FUNCTION)
    assert child.call == FunctionCall("trainer", VERSION, "step", "main.py", "app", parent.id, 1)
    assert await stage.world.folders.payload(started) == b'{"a":1}'
    assert stage.chutes.asked == [("alice", VERSION, "step")]
    assert started in stage.world.woken


async def test_the_same_call_gives_the_same_child_and_any_other_another(stage: Stage) -> None:
    parent = await stage.job()
    first = await stage.start(parent, k=0)
    assert await stage.start(parent, k=0) == first
    assert await stage.start(parent, k=1) != first
    assert await stage.start(parent, payload=b'{"a":1}') != first
    assert len((await stage.world.store.children_of([parent.id]))[parent.id]) == 3


async def test_a_key_gives_the_child_that_is_there_whatever_it_is_called_with(stage: Stage) -> None:
    parent = await stage.job()
    first = await stage.start(parent, payload=b'{"a":1}', key="once")
    assert await stage.start(parent, payload=b'{"a":2}', key="once", k=5) == first
    assert await stage.world.folders.payload(first) == b'{"a":1}'


async def test_calls_that_come_at_once_start_one_child(stage: Stage) -> None:
    parent = await stage.job()
    started = await asyncio.gather(*[stage.start(parent) for _ in range(20)])
    assert len(set(started)) == 1


async def test_a_spec_that_is_composed_otherwise_by_now_starts_no_second_child(stage: Stage) -> None:
    parent = await stage.job()
    first = await stage.start(parent)
    stage.chutes.bodies["step"] = {"image": "other"}
    assert await stage.start(parent) == first


async def test_a_child_whose_answer_was_lost_is_there_when_it_is_asked_for_again(stage: Stage) -> None:
    parent = await stage.job()
    lost = True

    async def lose(step: str) -> None:
        nonlocal lost
        if lost and step == "accept":
            lost = False
            raise StoreUnavailableError("disk I/O error")

    stage.world.store.after = lose
    assert await stage.refusal(parent) is CallFault.UNAVAILABLE
    child = await stage.start(parent)
    assert (await stage.world.store.children_of([parent.id]))[parent.id] == [child]


async def test_a_job_starts_no_more_children_than_the_host_allows_and_gets_those_that_it_has(
    stage: Stage,
) -> None:
    parent = await stage.job()
    started = [await stage.start(parent, k=number) for number in range(3)]
    assert await stage.refusal(parent, k=3) is CallFault.TOO_MANY_CHILDREN
    assert await stage.start(parent, k=1) == started[1]


async def test_children_that_are_started_at_once_are_counted(stage: Stage) -> None:
    parent = await stage.job()
    tries = [stage.start(parent, k=number) for number in range(10)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(end, str) for end in ends) == 3


async def test_a_job_is_no_deeper_than_the_host_allows(stage: Stage) -> None:
    parent = await stage.job(replace(CALL, depth=1))
    child = await stage.world.store.read(await stage.start(parent))
    assert child is not None
    assert await stage.refusal(child) is CallFault.TOO_DEEP


async def test_a_job_that_was_cancelled_with_its_children_starts_no_more_and_gets_those_that_it_has(
    stage: Stage,
) -> None:
    parent = await stage.job()
    child = await stage.start(parent)
    await stage.world.intake.cancel_family(Viewer("alice"), parent.id)
    assert await stage.refusal(parent, k=1) is CallFault.REFUSED
    assert await stage.start(parent) == child
    assert (await stage.world.store.children_of([parent.id]))[parent.id] == [child]


async def test_a_job_that_was_cancelled_alone_may_still_start_others(stage: Stage) -> None:
    parent = await stage.job()
    await stage.world.intake.cancel(Viewer("alice"), parent.id)
    assert await stage.start(parent)


@pytest.mark.parametrize(
    ("name", "payload", "fields", "fault"),
    [
        (None, b"{}", {}, CallFault.BAD_CALL),
        ("", b"{}", {}, CallFault.BAD_CALL),
        ("x" * 201, b"{}", {}, CallFault.BAD_CALL),
        (["step"], b"{}", {}, CallFault.BAD_CALL),
        ("step", b"{}", {"k": -1}, CallFault.BAD_CALL),
        ("step", b"{}", {"k": True}, CallFault.BAD_CALL),
        ("step", b"{}", {"k": 2**40}, CallFault.BAD_CALL),
        ("step", b"{}", {"key": ""}, CallFault.BAD_CALL),
        ("step", b"{}", {"key": 7}, CallFault.BAD_CALL),
        ("step", b"{}", {"key": "k" * 201}, CallFault.BAD_CALL),
        ("step", b"[1]", {}, CallFault.PAYLOAD_INVALID),
        ("step", b'"text"', {}, CallFault.PAYLOAD_INVALID),
        ("step", b'{"a":"' + b"x" * (1 << 20) + b'"}', {}, CallFault.PAYLOAD_INVALID),
        ("leap", b"{}", {}, CallFault.UNKNOWN_FUNCTION),
    ],
)
async def test_a_start_that_is_none_is_refused_and_leaves_nothing(
    stage: Stage, name: object, payload: bytes, fields: dict[str, object], fault: CallFault
) -> None:
    parent = await stage.job()
    assert await stage.refusal(parent, name, payload, **fields) is fault
    assert (await stage.world.store.children_of([parent.id]))[parent.id] == []


async def test_what_the_host_refuses_of_a_childs_spec_is_said(stage: Stage) -> None:
    parent = await stage.job()
    stage.chutes.bodies["step"] = {"image": "busybox", "timeout": 1}
    assert await stage.refusal(parent) is CallFault.REFUSED
    stage.chutes.fault = Fault("gpus", "x", "none here", "Ask for none.")
    assert await stage.refusal(parent) is CallFault.REFUSED
    stage.chutes.is_missing = True
    assert await stage.refusal(parent) is CallFault.REFUSED


async def test_a_describe_starts_nothing(stage: Stage) -> None:
    describe = await stage.job(replace(CALL, function=None), kind=Kind.DESCRIBE)
    assert await stage.refusal(describe) is CallFault.REFUSED


async def test_a_child_whose_id_is_anothers_job_is_refused_and_not_asked_for_for_ever(stage: Stage) -> None:
    parent = await stage.job()
    taken = child_id(parent.id, "step", b"{}", 0)
    await stage.world.intake.submit(Viewer("mallory"), {"image": "busybox"}, taken)
    assert await stage.refusal(parent) is CallFault.REFUSED


async def test_a_child_whose_id_is_a_job_of_the_chute_that_is_no_child_is_refused(stage: Stage) -> None:
    parent = await stage.job()
    taken = child_id(parent.id, "step", b"{}", 0)
    await stage.world.intake.accept(
        "alice", Submission({"image": "busybox"}, Kind.FUNCTION, CALL, b"{}", taken)
    )
    assert await stage.refusal(parent) is CallFault.REFUSED


async def test_a_start_that_the_host_can_not_make_now_may_be_made_later(stage: Stage) -> None:
    parent = await stage.job()
    stage.chutes.bodies["step"] = {"image": "busybox", "ssh": {"authorized_keys": [public_key(1).line]}}
    stage.world.host_keys.is_broken = True
    assert await stage.refusal(parent) is CallFault.UNAVAILABLE
    stage.world.host_keys.is_broken = False
    await stage.start(parent)


async def test_a_chute_that_is_being_described_sees_and_ends_no_other(stage: Stage) -> None:
    call = replace(CALL, chute="", function=None)
    describe, other = [await stage.job(call, kind=Kind.DESCRIBE) for _ in range(2)]
    assert await stage.calls.status(describe, other.id) is None
    assert await stage.calls.cancel(describe, other.id) is False


async def test_only_jobs_of_the_same_chute_and_owner_are_seen(stage: Stage) -> None:
    parent, sibling = await stage.job(), await stage.job()
    others = [
        (await stage.job(owner="bob")).id,
        (await stage.job(replace(CALL, chute="other"))).id,
        await stage.world.submit(),
        str(uuid4()),
    ]
    seen = json.dumps({"id": sibling.id}).encode()
    assert await stage.calls.status(parent, sibling.id) == seen
    assert await stage.calls.status(parent, sibling.id.upper()) == seen
    assert [await stage.calls.status(parent, other) for other in others] == [None] * 4
    assert [await stage.calls.cancel(parent, other) for other in others] == [False] * 4


@pytest.mark.parametrize("job_id", [None, 5, "", "x", [], "../../etc", "0" * 5000])
async def test_what_is_no_id_is_nobody(stage: Stage, job_id: object) -> None:
    parent = await stage.job()
    assert (await stage.calls.status(parent, job_id), await stage.calls.cancel(parent, job_id)) == (
        None,
        False,
    )


async def test_a_job_that_is_over_can_not_be_cancelled(stage: Stage) -> None:
    parent, sibling = await stage.job(), await stage.job()
    assert await stage.calls.cancel(parent, sibling.id) is True
    row = await stage.world.store.read(sibling.id)
    assert row is not None
    assert row.job_stop is not None
    await stage.world.finish(sibling.id)
    assert await stage.calls.cancel(parent, sibling.id) is False


# within a call of a cord

CORDS = FunctionCall("trainer", VERSION, None, "main.py")
CALL_ID = "33333333-0000-7000-8000-000000000001"
OTHER_CALL = "44444444-0000-7000-8000-000000000001"
LETTERS = "abcdefab-0000-7000-8000-000000000001"


async def a_host(stage: Stage, owner: str = "alice") -> Job:
    """One that answers three calls."""
    host = await stage.job(CORDS, owner, Kind.CORDS)
    for call in (CALL_ID, OTHER_CALL, LETTERS):
        stage.cord_calls.enter_context(stage.under_way.making(host.id, call))
    return host


async def test_what_a_cord_starts_is_nobodys_child_and_of_the_calls_id(stage: Stage) -> None:
    host = await a_host(stage)
    started = await stage.start(host, cord=CALL_ID)
    job = await stage.world.store.read(started)
    assert job is not None
    assert job.call is not None
    assert (job.call.parent, job.call.depth, job.call.chute) == (None, 0, "trainer")
    assert started == child_id(CALL_ID, "step", b"{}", 0)
    assert await stage.start(host, cord=CALL_ID) == started
    assert await stage.start(host, cord=LETTERS.upper()) == child_id(LETTERS, "step", b"{}", 0)
    assert await stage.start(host, cord=CALL_ID, k=1) != started
    assert await stage.start(host, cord=OTHER_CALL) != started


async def test_another_host_finds_what_the_same_call_started_before(stage: Stage) -> None:
    started = await stage.start(await a_host(stage), cord=CALL_ID)
    assert await stage.start(await a_host(stage), cord=CALL_ID) == started


async def test_a_call_starts_as_many_as_a_job_may_and_another_call_its_own(stage: Stage) -> None:
    host = await a_host(stage)
    for k in range(3):
        await stage.start(host, cord=CALL_ID, k=k)
    assert await stage.refusal(host, cord=CALL_ID, k=3) is CallFault.TOO_MANY_CHILDREN
    assert await stage.start(host, cord=CALL_ID, k=2), "one that is there already is found"
    for k in range(3):
        await stage.start(host, cord=OTHER_CALL, k=k)
        await stage.start(host, k=k)
    assert await stage.refusal(host, k=3) is CallFault.TOO_MANY_CHILDREN


async def test_what_is_said_to_be_of_a_call_that_is_not_under_way_is_a_child(stage: Stage) -> None:
    host, other = await a_host(stage), await stage.job(CORDS, "alice", Kind.CORDS)
    calls = [str(uuid4()) for _ in range(3)]
    started = [await stage.start(other, cord=call) for call in calls]
    assert [await stage.start(other, cord=call) for call in calls] == started, "sent again, they are found"
    assert await stage.refusal(other, cord=CALL_ID) is CallFault.TOO_MANY_CHILDREN, "another job answers it"
    job = await stage.world.store.read(started[0])
    assert job is not None
    assert job.call is not None
    assert (job.call.parent, job.call.depth) == (other.id, 1)
    assert await stage.start(host, cord=CALL_ID)


async def test_what_a_call_started_is_found_after_its_end_and_nothing_is_started_twice(stage: Stage) -> None:
    host = await a_host(stage)
    started = await stage.start(host, cord=CALL_ID)
    stage.cord_calls.close()
    assert await stage.start(host, cord=CALL_ID) == started
    late = await stage.start(host, cord=CALL_ID, k=1)
    assert late == child_id(CALL_ID, "step", b"{}", 1)


@pytest.mark.parametrize("cord", ["", "x", 5, [], "../../etc", {"a": 1}])
async def test_what_is_no_id_of_a_call_is_refused(stage: Stage, cord: object) -> None:
    assert await stage.refusal(await a_host(stage), cord=cord) is CallFault.BAD_CALL


async def test_a_job_that_answers_no_cords_is_of_no_call(stage: Stage) -> None:
    parent = await stage.job()
    for cord in (CALL_ID, "x"):
        started = await stage.start(parent, cord=cord)
        assert started == child_id(parent.id, "step", b"{}", 0)
        job = await stage.world.store.read(started)
        assert job is not None
        assert job.call is not None
        assert job.call.parent == parent.id


async def test_anothers_call_is_nothing_to_a_host(stage: Stage) -> None:
    theirs = await stage.start(await a_host(stage, "bob"), cord=CALL_ID)
    assert await stage.refusal(await a_host(stage), cord=CALL_ID) is CallFault.REFUSED
    job = await stage.world.store.read(theirs)
    assert job is not None
    assert job.owner == "bob"


def test_a_start_that_is_over_after_its_call_brings_the_call_back_to_nobody() -> None:
    calls = CordCalls()
    with calls.making("job", CALL_ID):
        calls.note_start("job", CALL_ID)
        assert calls.started("job", CALL_ID) == 1
    calls.note_start("job", CALL_ID)
    assert calls.started("job", CALL_ID) is None


async def test_a_cord_sees_and_cancels_jobs_of_its_chute(stage: Stage) -> None:
    host = await a_host(stage)
    started = await stage.start(host, cord=CALL_ID)
    assert await stage.calls.status(host, started) is not None
    assert await stage.calls.cancel(host, started)
