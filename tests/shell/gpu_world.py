"""gpu_world — a world whose host has GPUs, how each is, and a job that runs on them. Holds no test."""

from agent.core.gpu_findings import GpuState
from agent.core.gpus import Gpu
from agent.core.topology import Links
from agent.errors import Phase
from agent.jobs.gpu_care import GpuCare
from tests.fakes.engine import Program
from tests.shell.world import World

PCI = ("00000000:3B:00.0", "00000000:AF:00.0")
ONE, TWO = (Gpu(f"GPU-{n}", "NVIDIA H100", 80 << 30, pci=PCI[n - 1]) for n in (1, 2))
# Of the world's settings.
PROBATION = 600.0


def host(*gpus: Gpu, program: Program | None = None) -> World:
    world = World()
    world.gpus.gpus, world.gpus.links = gpus, Links()
    world.engine.program = program or Program(seconds=3)
    return world


def care_of(world: World) -> GpuCare:
    assert world.shell is not None
    return world.shell.tools.gpu_care


def state_of(world: World, uuid: str = "GPU-1") -> GpuState:
    return care_of(world).healths[uuid].state


async def running(world: World, **fields: object) -> str:
    job_id = await world.submit(**{"gpus": 1, **fields})
    await world.until_phase(job_id, Phase.RUNNING, 60)
    return job_id
