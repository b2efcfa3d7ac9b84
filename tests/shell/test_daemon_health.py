"""/health is for every principal: it says how many jobs are in trouble, and neither whose nor which nor what an error held."""

import pytest

from agent.core.ports import PortRange
from agent.daemon.health import build_health
from agent.jobs.assembly import Outside
from agent.jobs.health import CheckState, Finding, Health
from tests.fakes.clock import FakeClock
from tests.fakes.engine import Program
from tests.shell.world import Phase, World

pytestmark = pytest.mark.looptime


class BrokenDisk:
    """A bug of one job's task: nothing foresees this error."""

    async def __call__(self, _job_id: str) -> None:
        raise RuntimeError("of alice's secret job")


async def test_a_broken_job_is_counted_and_not_named() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    world.folders.drop_secrets = BrokenDisk()  # type: ignore[assignment] # one fault of the world, not of our code
    await world.start()
    assert world.shell is not None
    job_id = await world.submit(secrets={"KEY": "s"})
    outside = Outside(
        world.store, world.engine, world.folders, world.gpus, world.clock, lambda: 0.5, world.redactor
    )
    await world.until_phase(job_id, Phase.UPLOADING)
    await world.quiesce(5)
    assert job_id in world.shell.supervisor.broken
    health = build_health(outside, world.shell, PortRange(20000, 20009), lambda: (32768, 60999))
    jobs = next(check for check in await health.look() if check.name == "jobs")
    assert (jobs.state, jobs.evidence) == (CheckState.FAIL, "an internal error in the tasks of 1 jobs")
    await world.crash()


async def test_a_check_that_crashes_does_not_tell_with_what() -> None:
    async def crash() -> Finding:
        raise RuntimeError("of alice's secret job")

    (check,) = await Health(FakeClock(), {"one": crash}, frozenset()).look()
    assert (check.state, check.evidence) == (CheckState.FAIL, "the check itself failed")
