"""The launcher and the agent's own side of its socket, with nothing between them but the socket: each keeps to what the other expects."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.core.function import FaultKind, Report, ReportStatus
from tests.shell.hearing_agent import Agent, agent_with_a_job
from tests.shell.launched import Launched, end, launch, prepared


@asynccontextmanager
async def performed(code: str, payload: bytes = b"{}") -> AsyncIterator[tuple[Agent, Launched]]:
    """The agent hears it."""
    async with prepared(code, {}) as (root, host):
        agent = await agent_with_a_job(root / "job", payload)
        async with agent.heard():
            launcher = await launch(root, host)
            try:
                yield agent, launcher
            finally:
                await end(launcher)


async def test_what_a_function_tells_and_returns_is_kept() -> None:
    code = """
    @chute.job()
    async def work(self, **payload):
        await self.update_job_progress(progress=50, message="half")
        await self.record_metric("loss", 0.5)
        await self.update_job_status("task", "done")
        child = await self.start_job("other", {"n": 1})
        return [payload["n"], child, await self.get_job_status(child), await self.cancel_job(child), self.job_ports]
    """
    async with performed(code, b'{"n":\n7}') as (agent, launcher):
        assert await launcher.code() == 0, await launcher.err()
        assert await agent.functions.end(agent.job) == Report(ReportStatus.SUCCEEDED)
        assert await agent.result() == b'[7, "child", {"id": "child"}, true, [{"name": "web"}]]'
        told = await agent.told()
        assert told.progress is not None
        assert (told.progress.percent, told.statuses, list(told.metrics)) == (50, {"task": "done"}, ["loss"])


async def test_an_exception_is_kept_with_its_kind_and_text() -> None:
    code = """
    @chute.job()
    async def work(self):
        raise PermanentError("never")
    """
    async with performed(code) as (agent, launcher):
        assert await launcher.code() == 1
        report = await agent.functions.end(agent.job)
        assert report == Report(ReportStatus.FAILED, FaultKind.PERMANENT, "PermanentError", "never")


@pytest.mark.slow
async def test_a_flood_of_the_largest_reports_is_taken_whole() -> None:
    code = """
    @chute.job()
    async def work(self):
        for number in range(100):
            await self.update_job_status("\N{GRINNING FACE}" * 1_000 + str(number), "\N{GRINNING FACE}" * 1_000)
        for number in range(9_000):
            await self.record_metric("n", number)
        return "x" * 8_000_000
    """
    async with performed(code) as (agent, launcher):
        assert await launcher.code() == 0, await launcher.err()
        assert await agent.functions.end(agent.job) == Report(ReportStatus.SUCCEEDED)
        told = await agent.told()
        assert told.metrics["n"].count == 9_000


@pytest.mark.slow
async def test_another_agent_on_the_same_disk_counts_nothing_twice() -> None:
    code = """
    @chute.job()
    async def work(self):
        for number in range(50):
            await self.record_metric("n", 1)
            await asyncio.sleep(0.02)
        return 1
    """
    async with performed(code) as (agent, launcher):
        await agent.until_told("n")
        async with agent.again().heard():
            assert await launcher.code() == 0, await launcher.err()
        assert (await agent.told()).metrics["n"].count == 50
