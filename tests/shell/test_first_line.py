"""When a job wrote its first line is kept in its row while that line is still there."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from agent.aio import Flag
from agent.core.frames import Stream, first_line_frame
from agent.interfaces import ContainerGoneError, EngineUnavailableError
from agent.jobs.first_line import RETRY_SECONDS, FirstLine
from agent.jobs.logs import LogQuery
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine, Fate, Program
from tests.fakes.logs import FakeLog, FakeLogEngine, frame
from tests.shell.log_world import LogWorld
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime
STAMP_NS = 1_700_000_000_123_456_789


class Followed(FakeEngine):
    """An engine with the logs of another; it answers its first calls with the refusals, one after the other."""

    def __init__(self, logs: FakeLogEngine, *refusals: Exception) -> None:
        super().__init__(FakeClock())
        self.refusals = list(refusals)
        self._logs = logs

    async def follow_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        if self.refusals:
            raise self.refusals.pop(0)
        async for chunk in self._logs.follow_logs(container, since_ns):
            yield chunk


async def test_the_stamp_of_the_first_line_is_in_the_row_of_a_job_that_was_adopted() -> None:
    world = World()
    world.engine.program = Program(seconds=30)
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.container is not None
    world.engine.boxes[job.container].logs.append((STAMP_NS, frame(Stream.STDOUT, STAMP_NS, b"first\n")))
    await world.restart()
    job = await world.finish(job_id)
    assert job.run.first_log_ns == STAMP_NS
    await world.crash()


async def test_a_job_that_prints_nothing_has_no_first_line() -> None:
    world = World()
    world.engine.program = Program(seconds=3)
    await world.start()
    job = await world.finish(await world.submit())
    assert job.run.first_log_ns is None
    await world.crash()


async def test_the_stamp_is_in_the_row_as_soon_as_the_first_line_is_written() -> None:
    world = World()
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.container is not None
    await asyncio.sleep(20)
    world.engine.boxes[job.container].logs.append((STAMP_NS, frame(Stream.STDOUT, STAMP_NS, b"first\n")))
    job = await world.until(job_id, lambda job: job.run.first_log_ns is not None, seconds=1)
    assert job.run.first_log_ns == STAMP_NS
    await world.crash()


async def test_the_stamp_of_a_job_that_ends_before_its_row_has_it_goes_with_its_log() -> None:
    world = World()
    await world.start()
    job_id = await world.submit()
    job = await world.until_phase(job_id, Phase.RUNNING)
    assert job.container is not None
    await asyncio.sleep(20)

    def end_at_the_next_look(name: str, target: str) -> Fate:
        if name == "inspect":
            world.engine.exit_now(target, 0)
        return Fate.WORKS

    world.engine.fates = end_at_the_next_look
    world.engine.boxes[job.container].logs.append((STAMP_NS, frame(Stream.STDOUT, STAMP_NS, b"first\n")))
    assert (await world.finish(job_id, seconds=10)).outcome is Outcome.SUCCEEDED
    assert world.folders.logs[job_id, 1].startswith(first_line_frame(STAMP_NS))
    await world.crash()


async def test_a_first_line_that_rotates_away_at_once_is_told_to_be_gone() -> None:
    world = LogWorld()
    log = FakeLog(file_bytes=2000, files=2)
    world.start(log=log)
    flag = Flag()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first_line = FirstLine(Followed(world.engine), group, flag)
        first_line.watch(world.container)
        await asyncio.sleep(20)
        first_ns = world.now_ns
        for number in range(1000):  # in one go: nobody reads in between
            log.write(first_ns + number, b"%d" % number)
        assert await flag.wait(5)
        stamp = first_line.stamp_of(world.container)
    assert stamp == first_ns
    assert world.row.job is not None
    world.row.change(run=replace(world.row.job.run, first_log_ns=stamp))
    truncated, *rest = await world.json(LogQuery())
    assert (truncated["type"], truncated["cause"], truncated["at"]) == ("truncated", "rotated", rest[0]["at"])
    assert rest[-1]["line"] == "999"


async def test_an_engine_that_is_away_is_asked_again() -> None:
    logs = FakeLogEngine()
    logs.add("c1", FakeLog()).write(STAMP_NS, b"first")
    flag = Flag()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first_line = FirstLine(Followed(logs, *[EngineUnavailableError("away")] * 3), group, flag)
        first_line.watch("c1")
        await asyncio.sleep(RETRY_SECONDS)
        assert first_line.stamp_of("c1") is None
        assert await flag.wait(3 * RETRY_SECONDS)
    assert first_line.stamp_of("c1") == STAMP_NS


async def test_a_container_that_is_gone_is_not_waited_for() -> None:
    flag = Flag()
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        first_line = FirstLine(Followed(FakeLogEngine(), ContainerGoneError("c1")), group, flag)
        first_line.watch("c1")
    assert (first_line.stamp_of("c1"), flag.is_set()) == (None, False)


async def test_one_stream_watches_a_container_however_often_it_is_asked_for() -> None:
    logs = FakeLogEngine()
    logs.add("c1", FakeLog())
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first_line = FirstLine(Followed(logs), group, Flag())
        for _ in range(5):
            first_line.watch("c1")
            await asyncio.sleep(1)
        assert logs.follows == 1
        first_line.leave()
    assert logs.open_streams == 0


async def test_what_is_known_of_one_container_says_nothing_of_the_next() -> None:
    logs = FakeLogEngine()
    logs.add("c1", FakeLog()).write(STAMP_NS, b"first")
    logs.add("c2", FakeLog())
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first_line = FirstLine(Followed(logs), group, Flag())
        first_line.watch("c1")
        await asyncio.sleep(1)
        assert (first_line.stamp_of("c1"), first_line.stamp_of("c2")) == (STAMP_NS, None)
        first_line.watch("c2")
        await asyncio.sleep(1)
        assert (first_line.stamp_of("c1"), first_line.stamp_of("c2")) == (None, None)
        first_line.leave()
