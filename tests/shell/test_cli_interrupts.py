"""Ctrl-C in `run`, as a process on a terminal: the first asks, the second leaves the job to itself."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.errors import Phase
from tests.fakes.engine import Program
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, cli_world

# Programs that are started and ended: seconds together.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
JOB = "0190aaaa-0000-7000-8000-000000000001"
QUESTION = "Stop the job?"
STARTS_SECONDS = 20.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.engine.program = Program()
        yield made


@dataclass(slots=True)
class Terminal:
    """The program, and what it wrote to its terminal (or to its pipe)."""

    process: asyncio.subprocess.Process
    keys: int | None
    seen: bytearray = field(default_factory=bytearray)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def type(self, text: bytes) -> None:
        assert self.keys is not None
        os.write(self.keys, text)

    async def until_seen(self, text: str) -> None:
        await until(lambda: text.encode() in bytes(self.seen), STARTS_SECONDS)

    async def ends(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def on_terminal(world: CliWorld) -> AsyncIterator[Terminal]:
    keys, screen = pty.openpty()
    process = await start(world, stdin=screen, stderr=screen)
    os.close(screen)
    terminal = Terminal(process, keys)

    def read() -> None:
        try:
            terminal.seen.extend(os.read(keys, 4096))
        except OSError:  # the program has left its terminal
            asyncio.get_running_loop().remove_reader(keys)

    asyncio.get_running_loop().add_reader(keys, read)
    try:
        await terminal.until_seen(f"job {JOB}")
        await until(lambda: bool(world.engine.running()), STARTS_SECONDS)
        yield terminal
    finally:
        asyncio.get_running_loop().remove_reader(keys)
        os.close(keys)
        if process.returncode is None:
            process.kill()
        await process.wait()


async def start(world: CliWorld, stdin: int, stderr: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "--url", f"unix://{world.api.socket}", "run", "busybox",
        cwd=ROOT, stdin=stdin, stdout=asyncio.subprocess.DEVNULL, stderr=stderr,
    )  # fmt: skip


async def test_the_first_asks_and_yes_stops_the_job(world: CliWorld) -> None:
    async with on_terminal(world) as terminal:
        terminal.interrupt()
        await terminal.until_seen(QUESTION)
        assert (await world.api.store.read(JOB)).job_stop is None  # type: ignore[union-attr]  # it is there
        terminal.type(b"y\n")
        assert await terminal.ends() == 130
        job = await world.api.store.read(JOB)
        assert job is not None
        assert job.outcome == "cancelled"
        assert b"cancelled" in terminal.seen


async def test_anything_else_goes_on_and_the_next_one_leaves_and_says_how_to_come_back(
    world: CliWorld,
) -> None:
    async with on_terminal(world) as terminal:
        terminal.interrupt()
        await terminal.until_seen(QUESTION)
        terminal.type(b"\n")
        terminal.interrupt()
        assert await terminal.ends() == 130
        assert f"gpu-agent logs -f {JOB}".encode() in bytes(terminal.seen).replace(b"\r\n", b"")
        job = await world.api.store.read(JOB)
        assert job is not None
        assert (job.phase, job.job_stop) == (Phase.RUNNING, None)


async def test_a_second_one_at_the_question_leaves_the_job_running(world: CliWorld) -> None:
    async with on_terminal(world) as terminal:
        terminal.interrupt()
        await terminal.until_seen(QUESTION)
        terminal.interrupt()
        assert await terminal.ends() == 130
        job = await world.api.store.read(JOB)
        assert job is not None
        assert (job.phase, job.job_stop) == (Phase.RUNNING, None)


async def test_without_a_terminal_the_first_stops_the_job(world: CliWorld) -> None:
    process = await start(world, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    assert JOB.encode() in await asyncio.wait_for(process.stderr.readline(), STARTS_SECONDS)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 20) == 130
    job = await world.api.store.read(JOB)
    assert job is not None
    assert job.outcome == "cancelled"
