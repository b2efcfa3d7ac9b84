"""SIGHUP: each key that is said to be reloaded is in force at once, and what waited for it goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from agent.config import Config, ConfigError
from agent.core.delivery import Sent
from agent.core.outgoing import read_rules
from agent.daemon.reload import Places, Reload
from agent.daemon.values import output_limits_of
from agent.jobs.outputs import Outputs
from tests.fakes.engine import Program
from tests.shell.world import Phase, World

pytestmark = pytest.mark.looptime


def config_of(**sections: object) -> Config:
    return Config.model_validate(sections)


@asynccontextmanager
async def reloading(world: World, *configs: Config | ConfigError) -> AsyncIterator[tuple[Reload, Outputs]]:
    given = iter(configs)

    def read_config() -> Config:
        found = next(given)
        if isinstance(found, ConfigError):
            raise found
        return found

    assert world.shell is not None
    tools = world.shell.tools
    outputs = Outputs(world.folders, output_limits_of(config_of()))
    places = Places(
        world.settings, tools.current, world.shell.janitor, outputs, tools.uploads.allow, tools.ask_grant
    )
    reload = Reload(config_of(), read_config, places)
    watching = asyncio.ensure_future(reload.watch())
    try:
        yield reload, outputs
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def test_every_reloaded_key_is_in_force_for_all_that_read_it() -> None:
    world = World()
    await world.start()
    assert world.shell is not None
    new = config_of(
        limits={"pids": 99, "memory": "1GiB"},
        images={"deny": ["*evil*"], "max_size": "1MiB"},
        outputs={"retention": 3600, "max_files": 7, "max_bytes": "3MiB"},
        uploads={"allow_http": True, "allow_hosts": ("ci.internal",), "parallel": 1},
    )
    async with reloading(world, new) as (reload, outputs):
        reload.ask()
        await asyncio.sleep(0.1)
    policy = world.shell.tools.policy
    assert (policy.limits.pids, policy.limits.memory_bytes) == (99, 1 << 30)
    assert (policy.images.deny, policy.images.max_bytes) == (("*evil*",), 1 << 20)
    assert policy.outgoing == read_rules(True, ["ci.internal"])  # noqa: FBT003 - a key of the config
    assert policy.agent_id == "agent-1"
    assert world.shell.janitor.retention_seconds == 3600
    assert (outputs.limits.files, outputs.limits.total_bytes) == (7, 3 << 20)
    most = await most_at_once(world)
    await world.crash()
    assert most == 1


async def most_at_once(world: World) -> int:
    """How many files of one job were on their way at one moment."""
    world.engine.program = Program(seconds=1)

    async def slow(_path: str) -> Sent:
        await asyncio.sleep(1)
        return Sent()

    world.deliveries.behave = slow
    upload = {"to": "put", "url": "https://store.example.org/{path}"}
    job_id = await world.submit(outputs={"upload": upload})
    for name in "abcd":
        world.folders.outputs(job_id).write(name, b"x")
    await world.finish(job_id)
    assert len(world.deliveries.of(job_id)) == 4
    return world.deliveries.most_at_once


async def test_a_job_that_waits_for_its_queue_starts_as_soon_as_the_queue_is_widened() -> None:
    world = World(concurrency=1)
    world.engine.program = Program()
    await world.start()
    await world.until_phase(await world.submit(), Phase.RUNNING)
    waiting = await world.submit()
    await world.until(waiting, lambda job: job.waiting_for == "queue")
    await asyncio.sleep(1)
    async with reloading(world, config_of(queues={"default": {"concurrency": 2}})) as (reload, _):
        reload.ask()
        await world.until_phase(waiting, Phase.RUNNING, seconds=5)
    await world.crash()


async def test_the_range_of_ports_stays_the_one_of_the_start_for_the_most_that_a_job_may_ask() -> None:
    world = World()
    await world.start()
    assert world.shell is not None
    async with reloading(world, config_of(ports={"range": "20000-20001"})) as (reload, _):
        reload.ask()
        await asyncio.sleep(0.1)
    assert world.shell.tools.policy.limits.job_ports == 64
    await world.crash()


async def test_a_config_with_a_fault_changes_nothing() -> None:
    world = World()
    await world.start()
    assert world.shell is not None
    before = world.shell.tools.policy
    async with reloading(world, ConfigError([])) as (reload, _):
        reload.ask()
        await asyncio.sleep(0.1)
    assert world.shell.tools.policy is before
    await world.crash()
