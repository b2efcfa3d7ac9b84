"""An engine without seccomp: no container is made on it, and the host is to blame."""

import pytest

from tests.fakes.engine import Program
from tests.shell.world import Outcome, World

pytestmark = pytest.mark.looptime


async def test_no_container_is_made_on_an_engine_without_seccomp() -> None:
    world = World()
    world.engine.seccomp = False
    await world.start()
    job = await world.finish(await world.submit())
    assert job.outcome is Outcome.FAILED
    assert job.reason is not None
    assert (job.reason.code, job.reason.blame, job.reason.retryable) == ("no_seccomp", "host", True)
    assert [call for call in world.engine.calls if call[0] == "create"] == []
    await world.assert_all_is_well()
    await world.crash()


async def test_a_job_that_may_be_tried_again_runs_once_the_engine_has_seccomp() -> None:
    world = World()
    world.engine.seccomp = False
    world.engine.program = Program(seconds=1)
    await world.start()
    job_id = await world.submit(retry={"count": 3, "backoff": 60})
    await world.until(job_id, lambda job: job.attempt == 2)
    world.engine.seccomp = True
    world.engine.stop()
    world.engine.come_up()
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()
