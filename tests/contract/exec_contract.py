"""contract/exec_contract — a command beside a job's own, in the fake engine as in the real one. A subclass gives the fixture `stage`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum

import pytest

from agent.core.exec import ExecOutput, ExecPlan, WindowSize
from agent.core.frames import Stream
from agent.interfaces import (
    ContainerGoneError,
    ContainerNotRunningError,
    EngineUnavailableError,
    ExecSession,
)
from tests.contract.engine_contract import FOREVER, NOBODY, WITHIN_SECONDS, Stage, until_exited

FLOOD_BYTES = 20_000_000


class Does(Enum):
    """What a command does, as a shell would be told; the fake has a coroutine for each."""

    SPEAK = "echo out; echo err >&2; exit 7"
    ECHO = "cat"
    COUNT = "wc -c"
    FLOOD = f"head -c {FLOOD_BYTES} /dev/zero"
    SIZES = "stty -echo; echo ready; while read -r _; do stty size; done; exit 3"
    ASKED = 'echo "$GREETING:$PWD:$(id -u)"'
    WAIT = "echo ready; exec sleep 600"
    DEAF = "echo ready; sleep 0.5; wc -c"

    @property
    def plan(self) -> ExecPlan:
        return ExecPlan(("sh", "-c", self.value))

    @property
    def on_terminal(self) -> ExecPlan:
        return replace(self.plan, terminal=WindowSize(80, 24))


class ExecContract:
    async def test_both_streams_are_told_apart_and_the_exit_code_is_the_commands(self, stage: Stage) -> None:
        async with opened(stage, Does.SPEAK.plan) as session:
            seen = await collect(session)
            assert text_of(seen, Stream.STDOUT) == b"out\n"
            assert text_of(seen, Stream.STDERR) == b"err\n"
            assert await session.exit_code() == 7

    async def test_a_terminal_has_one_stream_with_a_terminals_line_ends(self, stage: Stage) -> None:
        async with opened(stage, Does.SPEAK.on_terminal) as session:
            seen = await collect(session)
            assert text_of(seen, Stream.STDOUT) == b"out\r\nerr\r\n"
            assert text_of(seen, Stream.STDERR) == b""
            assert await session.exit_code() == 7

    async def test_what_is_written_is_read_and_the_end_of_input_ends_it(self, stage: Stage) -> None:
        async with opened(stage, Does.ECHO.plan) as session:
            await session.write(b"one\n")
            assert await until_said(session, b"one\n") == b"one\n"
            await session.write(b"two\n")
            await session.end_input()
            assert text_of(await collect(session), Stream.STDOUT) == b"two\n"
            assert await session.exit_code() == 0

    async def test_output_goes_on_after_the_end_of_input(self, stage: Stage) -> None:
        async with opened(stage, Does.COUNT.plan) as session:
            for _ in range(40):
                await session.write(b"x" * 50_000)
            await session.end_input()
            assert int(text_of(await collect(session), Stream.STDOUT)) == 2_000_000
            assert await session.exit_code() == 0

    async def test_the_end_of_a_terminals_input_is_what_a_person_would_type(self, stage: Stage) -> None:
        async with opened(stage, Does.SIZES.on_terminal) as session:
            await until_said(session, b"ready\r\n")
            await session.end_input()
            await collect(session)
            assert await session.exit_code() == 3

    async def test_a_terminal_has_the_size_that_it_was_given_last(self, stage: Stage) -> None:
        plan = replace(Does.SIZES.plan, terminal=WindowSize(columns=101, rows=33))
        async with opened(stage, plan) as session:
            await until_said(session, b"ready\r\n")
            await session.write(b"\n")
            assert await until_said(session, b"33 101\r\n")
            await session.resize(WindowSize(columns=132, rows=50))
            await session.write(b"\n")
            assert await until_said(session, b"50 132\r\n")

    async def test_a_size_means_nothing_without_a_terminal_or_after_the_end(self, stage: Stage) -> None:
        container = await run(stage, "sizes")
        for plan in (Does.SPEAK.plan, Does.SPEAK.on_terminal):
            async with stage.engine.open_exec(container, plan) as session:
                await session.resize(WindowSize(132, 50))
                await collect(session)
                await session.exit_code()
                await session.resize(WindowSize(132, 50))

    async def test_a_large_output_comes_whole_and_waits_for_its_reader(self, stage: Stage) -> None:
        async with opened(stage, Does.FLOOD.plan) as session:
            first = await session.read()
            assert first is not None
            await asyncio.sleep(0.3)
            with pytest.raises(TimeoutError):
                # It can't have ended: nobody has room for all that it has to say.
                async with asyncio.timeout(0.3):
                    await session.exit_code()
            rest = await collect(session)
            assert len(first.data) + sum(len(piece.data) for piece in rest) == FLOOD_BYTES
            assert await session.exit_code() == 0

    async def test_a_large_input_waits_for_a_command_that_does_not_read_yet(self, stage: Stage) -> None:
        async with opened(stage, Does.DEAF.plan) as session:
            await until_said(session, b"ready\n")
            sent = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    while sent < 10_000_000:
                        await session.write(b"x" * 65_536)
                        sent += 65_536
            assert sent < 2_000_000

    async def test_user_folder_and_environment_are_what_the_plan_says(self, stage: Stage) -> None:
        plan = replace(Does.ASKED.plan, user="1234", workdir="/tmp", environment=(("GREETING", "a=b c"),))
        async with opened(stage, plan) as session:
            assert text_of(await collect(session), Stream.STDOUT) == b"a=b c:/tmp:1234\n"

    async def test_a_command_that_is_not_there_says_so_and_gives_126_or_127(self, stage: Stage) -> None:
        async with opened(stage, ExecPlan(("no-such-program",))) as session:
            seen = await collect(session)
            assert b"no-such-program" in text_of(seen, Stream.STDOUT)
            assert await session.exit_code() in {126, 127}

    @pytest.mark.parametrize("plan", [Does.WAIT.plan, Does.WAIT.on_terminal], ids=["pipes", "terminal"])
    async def test_hanging_up_ends_it_as_a_closed_terminal_does(self, stage: Stage, plan: ExecPlan) -> None:
        async with opened(stage, plan) as session:
            await until_said(session, b"ready")
            await session.hang_up()
            await collect(session)
            assert await session.exit_code() == 129
            await session.hang_up()

    async def test_what_is_written_too_late_is_nobodys_fault(self, stage: Stage) -> None:
        async with opened(stage, Does.SPEAK.plan) as session:
            await collect(session)
            assert await session.exit_code() == 7
            await session.write(b"late")
            await session.end_input()
            await session.write(b"later")
            assert await session.read() is None

    async def test_the_end_of_the_container_ends_it_as_killed(self, stage: Stage) -> None:
        container = await run(stage, "killed")
        async with stage.engine.open_exec(container, Does.WAIT.plan) as session:
            await until_said(session, b"ready")
            await stage.engine.kill(container, "SIGKILL")
            await collect(session)
            assert await session.exit_code() == 137

    async def test_of_a_container_that_is_removed_no_exit_code_is_known(self, stage: Stage) -> None:
        container = await run(stage, "removed")
        async with stage.engine.open_exec(container, Does.WAIT.plan) as session:
            await until_said(session, b"ready")
            await stage.engine.kill(container, "SIGKILL")
            await until_exited(stage.engine, container)
            while not await stage.engine.remove(container):
                await asyncio.sleep(0.02)
            await collect(session)
            with pytest.raises(ContainerGoneError):
                await session.exit_code()
            await session.hang_up()

    async def test_nothing_is_run_where_there_is_no_container_or_it_does_not_run(self, stage: Stage) -> None:
        with pytest.raises(ContainerGoneError):
            async with stage.engine.open_exec(NOBODY, Does.SPEAK.plan):
                pass
        created = await stage.engine.create(stage.plan("created", FOREVER), {})
        exited = await run(stage, "exited")
        await stage.engine.kill(exited, "SIGKILL")
        await until_exited(stage.engine, exited)
        for container in (created, exited):
            with pytest.raises(ContainerNotRunningError):
                async with stage.engine.open_exec(container, Does.SPEAK.plan):
                    pass

    async def test_several_run_at_once_and_each_has_its_own_streams(self, stage: Stage) -> None:
        container = await run(stage, "several")

        async def ask(number: int) -> bytes:
            async with stage.engine.open_exec(container, Does.ECHO.plan) as session:
                await session.write(b"%d" % number)
                await session.end_input()
                return text_of(await collect(session), Stream.STDOUT)

        assert await asyncio.gather(*map(ask, range(8))) == [b"%d" % number for number in range(8)]

    async def test_an_engine_that_restarts_meanwhile_is_no_end_of_the_command(self, stage: Stage) -> None:
        async with opened(stage, Does.WAIT.plan) as session:
            await until_said(session, b"ready")
            await stage.go_down()
            with pytest.raises(EngineUnavailableError):
                await end_of(session)
            await stage.come_up()
            with pytest.raises(EngineUnavailableError):
                await end_of(session)
            with pytest.raises(EngineUnavailableError):
                await session.hang_up()

    async def test_an_engine_that_is_down_runs_nothing(self, stage: Stage) -> None:
        container = await run(stage, "down")
        await stage.go_down()
        with pytest.raises(EngineUnavailableError):
            async with stage.engine.open_exec(container, Does.SPEAK.plan):
                pass
        await stage.come_up()


async def run(stage: Stage, job: str) -> str:
    container = await stage.engine.create(stage.plan(job, FOREVER), {})
    await stage.engine.start(container)
    await stage.until_ready(container)
    return container


@asynccontextmanager
async def opened(stage: Stage, plan: ExecPlan) -> AsyncIterator[ExecSession]:
    container = await run(stage, "exec")
    async with asyncio.timeout(2 * WITHIN_SECONDS), stage.engine.open_exec(container, plan) as session:
        yield session


async def collect(session: ExecSession) -> list[ExecOutput]:
    seen: list[ExecOutput] = []
    while (piece := await session.read()) is not None:
        seen.append(piece)
    return seen


async def end_of(session: ExecSession) -> int:
    await collect(session)
    return await session.exit_code()


async def until_said(session: ExecSession, words: bytes) -> bytes:
    said = b""
    while words not in said:
        piece = await session.read()
        assert piece is not None, said
        said += piece.data
    return said


def text_of(seen: list[ExecOutput], stream: Stream) -> bytes:
    return b"".join(piece.data for piece in seen if piece.stream is stream)
