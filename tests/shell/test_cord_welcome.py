"""Which connections of a launcher are taken for calls: no more than run at once, and none of a job that is to end. The rest are told so."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.interfaces import StoreUnavailableError
from agent.interfaces.job_socket import CallFault, CallRefusedError, JobCalls
from tests.fakes.cord_lines import FakeCordLine
from tests.fakes.upload_store import go_on
from tests.shell.cord_world import LINES, CordWorld, cord_world, echo

pytestmark = pytest.mark.looptime


@pytest.fixture
async def stage() -> AsyncIterator[CordWorld]:
    async with cord_world() as made:
        yield made


async def begin(stage: CordWorld) -> tuple[asyncio.Task[object], JobCalls]:
    """A call whose job runs, and has not connected."""
    await stage.ready()
    stage.starts_in = None
    calling: asyncio.Task[object] = asyncio.ensure_future(stage.call(body=1))
    async with asyncio.timeout(60):
        while not (stage.world.engine.running() and stage.world.sockets.calls):
            await asyncio.sleep(0.05)
    (calls,) = stage.world.sockets.calls.values()
    return calling, calls


async def refusal_of(serving: "asyncio.Task[None]") -> CallFault:
    with pytest.raises(CallRefusedError) as refused:
        await serving
    return refused.value.fault


async def test_of_connections_that_come_at_once_no_more_are_taken_than_calls_may_run(
    stage: CordWorld,
) -> None:
    calling, calls = await begin(stage)
    lines = [FakeCordLine(echo) for _ in range(LINES + 4)]
    serving = [asyncio.ensure_future(calls.serve(line)) for line in lines]
    await calling
    assert [line.is_welcome for line in lines] == [True] * LINES + [False] * 4
    assert {await refusal_of(task) for task in serving[LINES:]} == {CallFault.UNAVAILABLE}
    lines[0].close()
    await serving[0]
    again = FakeCordLine(echo)
    serving[0] = asyncio.ensure_future(calls.serve(again))
    await asyncio.sleep(1)
    assert again.is_welcome
    for line in (again, *lines):
        line.close()
    await asyncio.gather(*serving[:LINES])


async def test_a_refused_connection_takes_no_place(stage: CordWorld) -> None:
    calling, calls = await begin(stage)

    async def fail(step: str) -> None:
        if step == "read":
            raise StoreUnavailableError("disk I/O error")

    stage.world.store.before = fail
    for _ in range(LINES + 1):
        assert await refusal_of(asyncio.ensure_future(calls.serve(FakeCordLine(echo)))) is (
            CallFault.UNAVAILABLE
        )
    stage.world.store.before = go_on
    line = FakeCordLine(echo)
    serving = asyncio.ensure_future(calls.serve(line))
    await calling
    assert line.is_welcome
    line.close()
    await serving


async def test_a_connection_of_a_job_that_is_to_end_is_refused_before_it_is_welcome(stage: CordWorld) -> None:
    calling, calls = await begin(stage)
    (job,) = stage.jobs()
    await stage.world.cancel(job.id)
    line = FakeCordLine(echo)
    assert await refusal_of(asyncio.ensure_future(calls.serve(line))) is CallFault.UNAVAILABLE
    assert not line.is_welcome
    calling.cancel()
    await asyncio.wait({calling})
