"""How a job's GPUs are handed over: the way that the host has, the CPUs near them, and other GPUs where those failed to start."""

import pytest

from agent.core.container import ContainerPlan, Cpuset, Injection
from agent.core.gpus import Gpu
from agent.core.job import FailureKind, StartFailure
from tests.fakes.engine import Program
from tests.shell.world import Outcome, World

pytestmark = pytest.mark.looptime


def world_of(*uuids: str) -> World:
    world = World()
    world.engine.program = Program(seconds=30)
    world.gpus.gpus = tuple(
        Gpu(uuid, "H100", 80 * 2**30, pci=uuid, numa_node=node) for node, uuid in enumerate(uuids)
    )
    return world


async def planned(world: World, gpus: int) -> ContainerPlan:
    job_id = await world.submit(gpus=gpus)
    await world.until(job_id, lambda job: job.started_at is not None)
    plan = next(box.plan for box in world.engine.boxes.values() if box.seen.job == job_id)
    assert plan is not None
    return plan


async def test_gpus_come_by_cdi_as_soon_as_the_specs_name_them() -> None:
    world = world_of("GPU-1", "GPU-2")
    await world.start()
    assert (await planned(world, 1)).injection is Injection.NVIDIA
    world.engine.cdi_gpus = frozenset({"GPU-1", "GPU-2"})
    assert (await planned(world, 1)).injection is Injection.CDI
    await world.crash()


async def test_specs_that_were_taken_away_are_not_counted_on() -> None:
    world = world_of("GPU-1", "GPU-2")
    world.engine.cdi_gpus = frozenset({"GPU-1", "GPU-2"})
    await world.start()
    assert (await planned(world, 1)).injection is Injection.CDI
    world.engine.cdi_gpus = frozenset()
    assert (await planned(world, 1)).injection is Injection.NVIDIA
    await world.crash()


async def test_a_job_without_gpus_is_started_on_a_host_that_can_hand_none_over() -> None:
    world = world_of("GPU-1")
    world.engine.runtimes = frozenset({"runc"})
    await world.start()
    plan = await planned(world, 0)
    assert (plan.gpus, plan.injection, plan.cpuset) == ((), None, None)
    await world.crash()


async def test_a_host_that_can_hand_no_gpus_over_is_to_blame() -> None:
    world = world_of("GPU-1", "GPU-2")
    world.engine.runtimes = frozenset({"runc"})
    await world.start()
    job = await world.finish(await world.submit(gpus=1))
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "gpu_injection_missing")
    assert (job.reason.blame, job.reason.retryable) == ("host", True)
    assert [call for call in world.engine.calls if call[0] == "create"] == []
    assert world.shell is not None
    assert world.shell.tools.bad_gpus.now() == frozenset()
    await world.crash()


async def test_a_gpu_that_the_specs_leave_out_is_left_for_one_that_they_name() -> None:
    world = world_of("GPU-1", "GPU-2")
    world.engine.runtimes = frozenset({"runc"})
    world.engine.cdi_gpus = frozenset({"GPU-2"})
    await world.start()
    assert (await planned(world, 1)).gpus == ("GPU-2",)
    await world.crash()


async def test_a_job_is_pinned_to_the_nodes_of_its_gpus() -> None:
    world = world_of("GPU-1", "GPU-2")
    world.node_cpus = {0: "0-3", 1: "4-7"}
    await world.start()
    assert (await planned(world, 1)).cpuset == Cpuset("0-3", "0")
    assert (await planned(world, 1)).cpuset == Cpuset("4-7", "1")
    assert (await planned(world, 0)).cpuset is None
    await world.crash()


@pytest.mark.parametrize(
    ("words", "next_lease"),
    [
        ("unresolvable CDI devices nvidia.com/gpu=GPU-1", ("GPU-2", "GPU-3")),
        ("nvml error: driver not loaded", ("GPU-3", "GPU-4")),
    ],
)
async def test_the_next_lease_avoids_the_gpus_that_failed_to_start(
    words: str, next_lease: tuple[str, ...]
) -> None:
    world = world_of("GPU-1", "GPU-2", "GPU-3", "GPU-4")
    world.engine.start_failures.append(StartFailure(FailureKind.GPU, "gpu_start_failed", words))
    await world.start()
    plan = await planned(world, 2)
    assert plan.gpus == next_lease
    job = await world.finish(plan.job)
    assert (job.outcome, job.attempt, job.gpu_moves) == (Outcome.SUCCEEDED, 1, 1)
    await world.crash()


async def test_a_gpu_that_failed_to_start_is_tried_again_after_a_while() -> None:
    world = world_of("GPU-1")
    world.engine.start_failures.append(StartFailure(FailureKind.GPU, "gpu_start_failed", "no"))
    await world.start()
    job_id = await world.submit(gpus=1)
    await world.until(job_id, lambda job: job.waiting_for == "gpus")
    job = await world.finish(job_id, seconds=120)
    assert (job.outcome, job.gpu_moves) == (Outcome.SUCCEEDED, 1)
    await world.crash()
