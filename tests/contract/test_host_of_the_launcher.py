"""What the launcher may expect of its host, of the agent and of the fake that the launcher's tests use."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.job_caller import HELLO, Caller
from tests.fakes.job_socket import JobSocket
from tests.shell.hearing_agent import Agent, agent_with_a_job
from tests.shell.launched import hello

REPORT = {
    "id": 1,
    "call": "report",
    "seq": 1,
    "progress": {"percent": 50, "message": None},
    "metrics": [["n", 1, 0.5]],
    "statuses": {"task": "done"},
}
FINISH = {"id": 2, "call": "finish", "status": "succeeded", "bytes": 2, "note": None, "error": None}


@dataclass(frozen=True, slots=True)
class Host:
    place: Path
    points: Callable[[], Awaitable[int]]
    result: Callable[[], Awaitable[bytes]]


@pytest.fixture(params=["fake", "agent"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    place = Path(tempfile.mkdtemp(prefix="host-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, place)
        if request.param == "fake":
            fake = JobSocket(place / "agent.sock", hello())
            await fake.start()
            stack.push_async_callback(fake.die)
            yield host_of_fake(place, fake)
        else:
            agent = await agent_with_a_job(place)
            await stack.enter_async_context(agent.heard())
            yield host_of_agent(place, agent)


def host_of_fake(place: Path, fake: JobSocket) -> Host:
    async def points() -> int:
        return len(fake.metrics)

    async def result() -> bytes:
        assert fake.effects.finished is not None
        return fake.effects.finished.result

    return Host(place, points, result)


def host_of_agent(place: Path, agent: Agent) -> Host:
    async def points() -> int:
        return (await agent.told()).metrics["n"].count

    return Host(place, points, agent.result)


async def test_hello_says_what_the_launcher_reads(host: Host) -> None:
    async with Caller(host.place) as caller:
        said = (await caller.ask(HELLO))["ok"]
    assert said.keys() == hello().keys()
    assert said["job"].keys() == {"id", "attempt", "function", "chute", "parent"}
    assert said["entry"].keys() == {"file", "chute"}


async def test_each_answer_has_the_id_of_its_call(host: Host) -> None:
    async with Caller(host.place) as caller:
        await caller.send(HELLO, REPORT, FINISH, b"[]")
        answers = [await caller.next() for _ in range(3)]
    assert answers[0]["id"] == HELLO["id"]
    assert {answer["id"]: answer["ok"] for answer in answers[1:]} == {1: None, 2: None}


async def test_a_report_that_comes_again_is_answered_and_not_counted(host: Host) -> None:
    for _ in range(2):
        async with Caller(host.place) as caller:
            await caller.ask(HELLO)
            assert await caller.ask(REPORT) == {"id": 1, "ok": None}
    assert await host.points() == 1


async def test_the_first_finish_stands_and_a_later_one_is_answered(host: Host) -> None:
    for result in (b"[]", b"{}"):
        async with Caller(host.place) as caller:
            await caller.ask(HELLO)
            assert await caller.ask(FINISH, result) == {"id": 2, "ok": None}
    assert await host.result() == b"[]"


async def test_a_finish_that_was_cut_off_is_none(host: Host) -> None:
    async with Caller(host.place) as caller:
        await caller.ask(HELLO)
        await caller.send({**FINISH, "bytes": 1_000}, b"{")
    async with Caller(host.place) as caller:
        await caller.ask(HELLO)
        await caller.ask(FINISH, b"[]")
    assert await host.result() == b"[]"


async def test_a_call_that_there_is_not_is_refused_with_its_id(host: Host) -> None:
    async with Caller(host.place) as caller:
        await caller.ask(HELLO)
        refused = await caller.ask({"id": 7, "call": "dance"})
    assert (refused["id"], refused["error"]["code"]) == (7, "bad_call")
