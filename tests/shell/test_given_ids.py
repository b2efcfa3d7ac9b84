"""An id that a client chose may come again once its job is forgotten: whatever is slow, the folder is always of the job that has the row."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from agent.interfaces import ForeignIdError
from agent.jobs.current import Current
from agent.jobs.intake import Intake
from tests.fakes.engine import Program
from tests.fakes.folders import FakeFolders
from tests.fakes.host_keys import FakeHostKeys
from tests.shell.world import ME, Phase, World

pytestmark = pytest.mark.looptime

JOB = "0190eeee-0000-7000-8000-000000000001"
BODY = {"image": "busybox", "secrets": {"KEY": "value"}}


@dataclass
class Gate:
    """Whoever comes waits here, where it is shut."""

    is_shut: bool = False
    comers: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_it(self) -> None:
        self.comers += 1
        if self.is_shut:
            self.is_shut = False  # for the first alone
            await self.opened.wait()


class SlowFolders(FakeFolders):
    """A removal takes as long as the job has left files, or as the disk's threads have other work."""

    def __init__(self) -> None:
        super().__init__()
        self.removal = Gate()

    async def remove(self, job_id: str) -> None:
        await self.removal.pass_it()
        await super().remove(job_id)


class Host:
    def __init__(self, retention_seconds: float = 604_800) -> None:
        self.world = World()
        self.world.folders = self.folders = SlowFolders()
        self.world.engine.program = Program(seconds=1)
        self.retention_seconds = retention_seconds
        self.intake: Intake

    async def start(self) -> None:
        world = self.world
        await world.start()
        assert world.shell is not None
        world.shell.janitor.retention_seconds = self.retention_seconds
        tools = world.shell.tools
        self.intake = Intake(
            world.store,
            world.folders,
            world.gpus.inventory,
            world.clock,
            Current(tools.policy),
            tools.hiding,
            lambda: "0190eeee-0000-7000-8000-00000000ffff",
            world.wake,
            world.ssh_kits,
            FakeHostKeys(),
            world.shell.janitor.given_ids,
        )

    async def put(self) -> None:
        await self.intake.submit(ME, BODY, JOB)

    async def delete(self) -> None:
        with suppress(ForeignIdError):  # another was faster
            await self.intake.forget(ME, JOB)

    async def finish(self) -> None:
        await self.world.finish(JOB)

    async def check(self) -> None:
        has_row = await self.world.store.read(JOB) is not None
        assert (JOB in self.folders.records) is has_row


@pytest.fixture
async def host() -> Host:
    return Host()


async def test_a_second_removal_that_is_slow_takes_nothing_of_the_next_job(host: Host) -> None:
    await host.start()
    await host.put()
    await host.finish()
    host.folders.removal.is_shut = True
    async with asyncio.TaskGroup() as group:
        group.create_task(host.delete())
        await asyncio.sleep(1)

        async def delete_and_put() -> None:
            await host.delete()
            await host.put()

        group.create_task(delete_and_put())
        await asyncio.sleep(1)
        host.folders.removal.opened.set()
    await host.check()
    await host.finish()
    await host.world.crash()


async def test_a_job_whose_id_is_forgotten_as_it_comes_in_has_a_folder(host: Host) -> None:
    await host.start()
    await host.put()
    await host.finish()
    works = host.world.store.before
    tasks: list[asyncio.Task[None]] = []

    async def delete_first(step: str) -> None:
        await works(step)
        if step == "accept" and not tasks:
            tasks.append(asyncio.get_running_loop().create_task(host.delete()))
            await asyncio.wait(tasks, timeout=1)

    host.world.store.before = delete_first
    await host.put()
    await asyncio.wait(tasks)
    await host.check()
    await host.world.crash()


async def test_the_janitor_takes_nothing_of_a_job_that_came_while_it_removed_an_earlier_one() -> None:
    host = Host(retention_seconds=30)
    await host.start()
    await host.put()
    await host.finish()
    host.folders.removal.is_shut = True
    async with asyncio.timeout(300):
        while not host.folders.removal.comers:
            await asyncio.sleep(1)

    async def delete_and_put() -> None:
        await host.delete()
        await host.put()

    async with asyncio.TaskGroup() as group:
        group.create_task(delete_and_put())
        await asyncio.sleep(1)
        host.folders.removal.opened.set()
    await host.check()
    assert (await host.world.job(JOB)).phase is not Phase.FINISHED
    await host.finish()
    await host.world.crash()
