"""Commands in a real engine's containers keep the contract that the fake's keep; and what only a real one can show."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DockerStage

from agent.adapters.docker.client import Deadlines
from agent.adapters.docker.engine import DockerEngine
from agent.core.exec import ExecPlan, WindowSize
from agent.core.frames import Stream
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble
from tests.contract.engine_contract import FOREVER
from tests.contract.exec_contract import Does, ExecContract, collect, opened, run, text_of, until_said


class TestDockerExec(ExecContract):
    """Its fixture `stage` is conftest's."""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_one_that_is_cancelled_leaves_no_thread_and_no_socket(stage: DockerStage) -> None:
    # Those that are cancelled run on, and the engine's way into a container takes some processes for a moment.
    container = await stage.run(replace(stage.plan("cancelled", FOREVER), pids=1024))
    before, threads = descriptors(), threading.active_count()
    engine = await DockerEngine.open(stage.private.socket, stage.agent)

    async def stay(plan: ExecPlan) -> None:
        async with engine.open_exec(container, plan) as session, asyncio.TaskGroup() as group:
            group.create_task(session.exit_code())
            group.create_task(collect(session))

    for seconds in (0.0, 0.01, 0.05, 0.2, 1.0):
        plans = [Does.WAIT.plan, Does.WAIT.on_terminal] * 3
        tasks = [asyncio.create_task(stay(plan)) for plan in plans]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    # Closed are those that it keeps for its next calls; no command's connection is among them.
    await engine.close()
    async with asyncio.timeout(10):
        while descriptors() > before:
            await asyncio.sleep(0.02)
    assert threading.active_count() <= threads


async def test_one_that_is_left_runs_on_and_one_that_was_hung_up_does_not(stage: DockerStage) -> None:
    container = await run(stage, "left")
    plan = ExecPlan(("sh", "-c", "echo ready; exec sleep 601"))
    for leave, left in (("hang up", 0), ("go", 1)):
        async with stage.engine.open_exec(container, plan) as session:
            await until_said(session, b"ready")
            if leave == "hang up":
                await session.hang_up()
                await session.exit_code()
        assert await ask(stage, container, "ps -o args | grep -c '[s]leep 601' || true") == b"%d\n" % left


async def test_a_shell_on_a_terminal_takes_what_it_started_along_when_it_is_hung_up(
    stage: DockerStage,
) -> None:
    container = await run(stage, "shell")
    plan = replace(Does.ECHO.on_terminal, command=("sh", "-i"))
    async with stage.engine.open_exec(container, plan) as session:
        await session.write(b"echo re''ady; sleep 602\n")
        await until_said(session, b"ready\r\n")
        await session.hang_up()
        await collect(session)
    async with asyncio.timeout(10):
        while await ask(stage, container, "ps -o args | grep -c '[s]leep 602' || true") != b"0\n":
            await asyncio.sleep(0.05)


async def test_every_key_but_the_one_that_nobody_types_goes_through_at_once(stage: DockerStage) -> None:
    """The engine has keys of its own to leave a terminal, and holds back what they begin with: ^P above all."""
    container = await run(stage, "keys")
    script = "stty raw -echo; echo ready; dd bs=1 count=1 2>/dev/null | od -An -tx1"
    plan = ExecPlan(("sh", "-c", script), terminal=WindowSize(80, 24))
    for key in (0x00, 0x03, 0x04, 0x10, 0x11, 0x1A, 0x1D, 0x1E, 0x1F, 0x7F):
        async with stage.engine.open_exec(container, plan) as session:
            await until_said(session, b"ready")
            await session.write(bytes([key]))
            async with asyncio.timeout(5):
                assert b"%02x" % key in text_of(await collect(session), Stream.STDOUT)


async def test_an_engine_that_hangs_starts_nothing_and_says_so(stage: DockerStage) -> None:
    hasty = await DockerEngine.open(stage.private.socket, stage.agent, Deadlines(0.4, 0.6))
    container = await run(stage, "hangs")
    await asyncio.to_thread(stage.private.freeze)
    try:
        with pytest.raises(EngineUnavailableError) as raised:
            async with hasty.open_exec(container, Does.SPEAK.plan):
                pass
    finally:
        await asyncio.to_thread(stage.private.thaw)
        await hasty.close()
    assert raised.value.trouble is Trouble.HANGS


async def test_nobody_of_the_images_is_a_user_that_it_has_not(stage: DockerStage) -> None:
    async with opened(stage, replace(Does.ASKED.plan, user="stranger")) as session:
        assert b"stranger" in text_of(await collect(session), Stream.STDOUT)
        assert await session.exit_code() == 126


async def ask(stage: DockerStage, container: str, script: str) -> bytes:
    async with stage.engine.open_exec(container, ExecPlan(("sh", "-c", script))) as session:
        return text_of(await collect(session), Stream.STDOUT)
