"""What the engine's socket answers to a command: refusals told apart, a broken connection never taken for an end."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from docker_wire import Wire, answer

from agent.adapters.docker.client import Deadlines
from agent.adapters.docker.engine import DockerEngine
from agent.adapters.docker.execs import signaller
from agent.core.exec import ExecPlan
from agent.interfaces import (
    ContainerGoneError,
    ContainerNotRunningError,
    EngineRefusedError,
    EngineUnavailableError,
    ExecSession,
)
from agent.interfaces.engine import Trouble

PLAN = ExecPlan(("true",))
CREATE = ("POST", "/containers/c1/exec")
START = ("POST", "/exec/e1/start")
MADE = answer(201, b'{"Id": "e1"}')


async def collect(session: ExecSession) -> None:
    while await session.read() is not None:
        pass


def said(status: int, message: str) -> bytes:
    return answer(status, json.dumps({"message": message}).encode())


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (said(404, "No such container: c1"), ContainerGoneError),
        (said(409, "container c1 is not running"), ContainerNotRunningError),
        (said(409, "container c1 is paused, unpause the container before exec"), ContainerNotRunningError),
        (said(400, "no exec command specified"), EngineRefusedError),
        (said(500, "strange"), EngineRefusedError),
        (said(503, "not now"), EngineUnavailableError),
    ],
)
@pytest.mark.parametrize("when", ["create", "start"])
async def test_a_refusal_says_why(tmp_path: Path, when: str, refusal: bytes, error: type[Exception]) -> None:
    async with Wire.laid(tmp_path / "socket") as wire:
        wire.answers |= {CREATE: refusal} if when == "create" else {CREATE: MADE, START: refusal}
        engine = await DockerEngine.open(str(wire.path), "agent-1", Deadlines(2.0, 2.0))
        with pytest.raises(error):
            async with engine.open_exec("c1", PLAN):
                pass
        await engine.close()


@pytest.mark.parametrize("made", [b"{}", b"no JSON", b"[]"])
async def test_an_answer_that_is_none_of_the_engines_is_no_command(tmp_path: Path, made: bytes) -> None:
    async with Wire.laid(tmp_path / "socket") as wire:
        wire.answers[CREATE] = answer(201, made)
        engine = await DockerEngine.open(str(wire.path), "agent-1", Deadlines(2.0, 2.0))
        with pytest.raises(EngineUnavailableError):
            async with engine.open_exec("c1", PLAN):
                pass
        await engine.close()


async def test_a_start_without_an_answer_is_given_up_and_leaves_no_connection(tmp_path: Path) -> None:
    async with Wire.laid(tmp_path / "socket") as wire:
        wire.answers[CREATE] = MADE
        engine = await DockerEngine.open(str(wire.path), "agent-1", Deadlines(0.2, 0.2))
        with pytest.raises(EngineUnavailableError) as raised:
            async with engine.open_exec("c1", PLAN):
                pass
        assert raised.value.trouble is Trouble.HANGS
        await wire.until(0)
        await engine.close()


async def test_a_start_that_is_cancelled_leaves_no_connection(tmp_path: Path) -> None:
    async def stay(engine: DockerEngine) -> None:
        async with engine.open_exec("c1", PLAN):
            pass

    async with Wire.laid(tmp_path / "socket") as wire:
        wire.answers[CREATE] = MADE
        engine = await DockerEngine.open(str(wire.path), "agent-1", Deadlines(5.0, 5.0))
        task = asyncio.create_task(stay(engine))
        await wire.until(1)
        task.cancel()
        await wire.until(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.close()


def test_a_process_that_is_not_the_containers_gets_no_signal() -> None:
    """The number is the engine's word: by now, or in another namespace than ours, it may be anybody's."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        signaller(stranger.pid, "c" * 64)()
        stranger.communicate()
    assert stranger.returncode == 0


@pytest.mark.parametrize("rest", [b"\x01\0\0\0\0\0\0\x09half", b"\x01\0\0", b"HTTP/1.1 200 OK"])
async def test_an_end_within_a_frame_is_the_engines_and_not_the_commands(tmp_path: Path, rest: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/start" in head:
            writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + rest)
        else:
            writer.write(MADE.replace(b"\r\nContent-Type", b"\r\nConnection: close\r\nContent-Type"))
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "socket")
    engine = await DockerEngine.open(str(tmp_path / "socket"), "agent-1", Deadlines(2.0, 2.0))
    async with engine.open_exec("c1", PLAN) as session:
        with pytest.raises(EngineUnavailableError):
            await collect(session)
    await engine.close()
    server.close()
