"""When a job wrote its first line is kept in its row while that line is still there."""

import pytest

from agent.core.frames import Stream
from tests.fakes.engine import Program
from tests.fakes.logs import frame
from tests.shell.world import Phase, World

pytestmark = pytest.mark.looptime
STAMP_NS = 1_700_000_000_123_456_789


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
