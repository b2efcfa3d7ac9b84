"""The lines of shell around a job's SSH server, by each shell that an image may have: it ends with its line, and replaces one of before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import DockerStage
from ssh_images import image_of
from ssh_stage import BRIDGE, SshJob

from agent.core.exec import ExecPlan
from agent.core.ssh_kit import SshKit
from agent.core.ssh_log import Ended, Line, Opened, Ready, SshLog
from agent.core.ssh_server import server_plan
from agent.interfaces import ExecSession
from tests.private_engine import PrivateEngine
from tests.ssh_kit import built_kit

pytestmark = pytest.mark.slow

SECONDS = 15.0


@dataclass(frozen=True)
class Case:
    """An image, the shell in it that runs the script, and whom its container runs as."""

    image: str
    shell: str
    user: str | None

    def __str__(self) -> str:
        return f"{self.image}-{self.shell.rpartition('/')[2]}-{self.user}"


CASES = [
    Case(image, shell, user)
    for image, shell in (("static", "/bin/sh"), ("glibc", "/bin/sh"), ("glibc", "/bin/bash"))
    for user in (None, "worker")
]


@pytest.fixture(scope="module")
def kit() -> SshKit:
    return built_kit()


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
async def job(
    stage: DockerStage, private_engine: PrivateEngine, kit: SshKit, case: Case, tmp_path: Path
) -> SshJob:
    """A container without a server in it."""
    made = SshJob(stage, kit, tmp_path)
    image = await asyncio.to_thread(image_of, private_engine, case.image, tmp_path)
    await stage.engine.ensure_bridge(BRIDGE, None)
    made.container = await stage.run(made.plan(image, user=case.user))
    return made


class Listener:
    """A server, as the agent has it: its line, and what it said."""

    def __init__(self, session: ExecSession) -> None:
        self.session = session
        self._log = SshLog()
        self.said: list[Line] = []

    async def until(self, kind: type[Line]) -> Line:
        async with asyncio.timeout(SECONDS):
            while not any(isinstance(line, kind) for line in self.said):
                piece = await self.session.read()
                assert piece is not None, self.said
                self.said += self._log.feed(piece.data)
        return next(line for line in self.said if isinstance(line, kind))


@asynccontextmanager
async def server(job: SshJob, case: Case) -> AsyncIterator[Listener]:
    planned = server_plan()
    plan: ExecPlan = replace(planned, command=(case.shell, *planned.command[1:]))
    async with job.stage.engine.open_exec(job.container, plan) as session:
        listener = Listener(session)
        await listener.until(Ready)
        yield listener


async def until_refused(job: SshJob) -> None:
    async with asyncio.timeout(SECONDS):
        while (await job.ssh("true")).returncode == 0:
            await asyncio.sleep(0.1)


async def test_it_ends_with_its_line_and_leaves_open_sessions_alone(job: SshJob, case: Case) -> None:
    async with server(job, case) as listener:
        session = asyncio.create_task(job.ssh("sleep 3; echo still here"))
        opened = await listener.until(Opened)
        assert isinstance(opened, Opened)
        assert opened.user == job.user
    await until_refused(job)
    assert (await session).stdout == "still here\n"


async def test_the_end_of_its_input_is_enough_and_is_told(job: SshJob, case: Case) -> None:
    async with server(job, case) as listener:
        await listener.session.end_input()
        await listener.until(Ended)
        await until_refused(job)


async def test_one_of_before_is_ended_by_the_next_and_never_the_other_way(job: SshJob, case: Case) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(server(job, case))
        for _ in range(3):
            # A session of the earlier one, whose process has the same name, stays.
            session = asyncio.create_task(job.ssh("sleep 2; echo still here"))
            await first.until(Opened)
            second = await stack.enter_async_context(server(job, case))
            await first.until(Ended)
            assert (await job.ssh("true")).returncode == 0
            assert isinstance(await second.until(Opened), Opened)
            assert (await session).stdout == "still here\n"
            first, second.said = second, []


async def test_a_program_of_the_jobs_own_on_the_port_is_left_alone(job: SshJob, case: Case) -> None:
    if case.image != "static":
        pytest.skip("needs nc, which the other images have not")
    await job.execute(["nc", "-ll", "-p", "2202", "-e", "cat"])
    await asyncio.sleep(0.5)
    planned = server_plan()
    async with job.stage.engine.open_exec(job.container, planned) as session:
        listener = Listener(session)
        ended = await listener.until(Ended)
        assert isinstance(ended, Ended)
        assert ended.code != 0
        assert not any(isinstance(line, Ready) for line in listener.said)
