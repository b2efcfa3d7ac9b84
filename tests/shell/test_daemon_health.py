"""/health is for every principal: it says how many jobs are in trouble, and neither whose nor which nor what an error held."""

from dataclasses import replace

import pytest

from agent.core.event_form import show_time
from agent.core.gpus import Gpu
from agent.daemon.health import build_health
from agent.jobs.gpu_probes import gpus_probe
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
    world.folders.drop_used_secrets = BrokenDisk()  # type: ignore[assignment] # one fault of the world, not of our code
    await world.start()
    assert world.shell is not None
    job_id = await world.submit(secrets={"KEY": "s"})
    await world.until_phase(job_id, Phase.UPLOADING)
    await world.quiesce(5)
    assert job_id in world.shell.supervisor.broken
    health = build_health(world.outside(), world.shell, {})
    jobs = next(check for check in await health.look() if check.name == "jobs")
    assert (jobs.state, jobs.evidence) == (CheckState.FAIL, "an internal error in the tasks of 1 jobs")
    await world.crash()


async def test_a_check_that_crashes_does_not_tell_with_what() -> None:
    async def crash() -> Finding:
        raise RuntimeError("of alice's secret job")

    (check,) = await Health(FakeClock(), {"one": crash}, frozenset()).look()
    assert (check.state, check.evidence) == (CheckState.FAIL, "the check itself failed")


async def test_each_gpu_that_is_not_well_is_named_with_why_and_what_it_waits_for() -> None:
    world = World()
    world.gpus.gpus = tuple(Gpu(f"GPU-{n}", "H100", 80 * 2**30) for n in (1, 2))
    await world.start()
    assert world.shell is not None
    probe = gpus_probe(world.shell.tools.gpu_care)
    await world.quiesce(2)
    assert await probe() == Finding(CheckState.OK, "2 GPUs, all well")
    world.gpus.send_xid("GPU-2", 62)
    await world.quiesce(2)
    seen = await probe()
    assert seen.state is CheckState.WARN
    since = show_time(world.shell.tools.gpu_care.healths["GPU-2"].since)
    assert seen.evidence.startswith(f"GPU-2 is quarantined since {since}: XID 62")
    assert seen.evidence.endswith("waits for probation, reset")
    world.gpus.send_xid("GPU-1", 62)
    await world.quiesce(2)
    assert (await probe()).state is CheckState.FAIL
    world.gpus.gpus = ()
    assert (await probe()).evidence == "no GPUs: the host has none"
    await world.crash()


async def test_a_gpu_that_the_config_names_and_that_nobody_ever_saw_is_told() -> None:
    world = World()
    world.gpus.gpus = (Gpu("GPU-1", "H100", 80 * 2**30), Gpu("MIG-1", "H100", 10 * 2**30, whole="GPU-2"))
    world.settings.gpu_care = replace(world.settings.gpu_care, use=("GPU-1", "GPU-2", "GPU-I"))
    await world.start()
    assert world.shell is not None
    await world.quiesce(2)
    seen = await gpus_probe(world.shell.tools.gpu_care)()
    assert seen.state is CheckState.WARN
    assert seen.evidence == "[gpus] use names GPU-I, and there is no such GPU; 2 GPUs, all well"
    await world.crash()
