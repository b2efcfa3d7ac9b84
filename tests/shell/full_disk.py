"""A world whose disk is nearly full, and jobs that fill it."""

import asyncio

from agent.jobs.disk_guard import DiskGuard
from tests.fakes.engine import Program
from tests.shell.world import Phase, World

MIB, GIB = 1 << 20, 1 << 30
TICK = 0.05


def world() -> World:
    """One disk for both, with 4 GiB free."""
    world = World(concurrency=8)
    world.engine.disk = world.folders.disk
    world.folders.disk.others = world.folders.disk.size_bytes - 4 * GIB
    world.engine.program = Program(seconds=3600)
    return world


def guard(world: World) -> DiskGuard:
    assert world.shell is not None
    return world.shell.disk_guard


async def run(world: World, **fields: object) -> str:
    job_id = await world.submit(timeout=7200, **fields)
    await world.until_phase(job_id, Phase.RUNNING)
    return job_id


def container_of(world: World, job_id: str) -> str | None:
    return next((one.id for one in world.engine.running() if one.job == job_id), None)


async def write(
    world: World, job_id: str, bytes_a_second: float, seconds: float = 120, *, to_layer: bool = False
) -> None:
    """As long as its container runs."""
    until = asyncio.get_running_loop().time() + seconds
    disk = world.engine.disk if to_layer else world.folders.disk
    assert disk is not None
    while (container := container_of(world, job_id)) and asyncio.get_running_loop().time() < until:
        disk.write(container if to_layer else job_id, int(bytes_a_second * TICK))
        await asyncio.sleep(TICK)


def leave_inodes(world: World, free: int) -> None:
    """With much room in bytes."""
    disk = world.folders.disk
    disk.others = 0
    disk.inodes = 10_000_000
    disk.others_files = disk.inodes - free


async def make(
    world: World, job_id: str, files_a_second: float, seconds: float = 120, *, to_layer: bool = False
) -> None:
    """As long as its container runs."""
    until = asyncio.get_running_loop().time() + seconds
    while (container := container_of(world, job_id)) and asyncio.get_running_loop().time() < until:
        owner = container if to_layer else job_id
        world.folders.disk.make(owner, int(files_a_second * TICK), world.clock.now())
        await asyncio.sleep(TICK)
