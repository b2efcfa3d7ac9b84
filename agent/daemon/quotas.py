"""daemon/quotas — what the doctor, who has no lock on the state folder, reads of quota volumes. Changes nothing."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.folders.loops import Keep, loops_of
from agent.adapters.folders.state import AGENT_ID
from agent.adapters.linux import read_holders
from agent.adapters.sqlite import open_jobs
from agent.aio import Threads
from agent.config import Config
from agent.core.container import QuotaVolume
from agent.daemon.values import DATABASE
from agent.jobs.health import Probe
from agent.jobs.quota_probe import Device, leftovers_probe

T = TypeVar("T")


def quota_leftovers_probe(config: Config) -> Probe:
    """Of the agent whose state folder this is."""

    async def volumes() -> Sequence[QuotaVolume]:
        agent = await agent_id(config)
        if agent is None:
            return ()
        engine = await DockerEngine.open(config.engine.socket, agent)
        try:
            return await engine.volumes()
        finally:
            await engine.close()

    async def needed() -> frozenset[str]:
        path = config.state_dir / DATABASE
        return await _in_thread(lambda: open_jobs(path) if path.exists() else frozenset())

    async def devices() -> Sequence[Device]:
        return await _in_thread(lambda: _devices(config))

    return leftovers_probe(volumes, devices, needed)


async def agent_id(config: Config) -> str | None:
    """Of the agent whose state folder this is. None: it was never started."""
    return await _in_thread(lambda: _agent_id(config))


def _devices(config: Config) -> list[Device]:
    agent = _agent_id(config)
    loops = [] if agent is None else loops_of(agent)
    return [
        Device(loop.job, loop.device, loop.keep is Keep.UNTIL_RELEASED, read_holders(loop.device))
        for loop in loops
    ]


def _agent_id(config: Config) -> str | None:
    try:
        return (config.state_dir / AGENT_ID).read_text("ascii").strip()
    except FileNotFoundError:
        return None


async def _in_thread(read: Callable[[], T]) -> T:
    threads = Threads("doctor", 1)
    try:
        return await threads.run(read)
    finally:
        threads.close()
