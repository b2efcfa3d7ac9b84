"""What the adapter makes of cut streams, of an engine that hangs, and of a kill that ends nothing."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.docker.client import SLOW_THREADS, Deadlines
from agent.adapters.docker.engine import DockerEngine
from agent.adapters.docker.streams import lines
from agent.interfaces import EngineRefusedError, EngineUnavailableError
from agent.interfaces.engine import Trouble
from tests.unit.docker_wire import Wire, answer, stream

LEAVES = """
import asyncio, signal, sys
from agent.adapters.docker.engine import DockerEngine

async def main():
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    engine = await DockerEngine.open(sys.argv[1], "a")
    try:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call) for call in (engine.remove("c"), engine.inspect("c"))]
            await leave.wait()
            for call in calls:
                call.cancel()
    finally:
        await engine.close()

asyncio.run(main())
"""


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    async with Wire.laid(tmp_path / "wire.sock") as wire:
        yield wire


@pytest.fixture
async def engine(wire: Wire) -> AsyncIterator[DockerEngine]:
    engine = await DockerEngine.open(str(wire.path), "agent", Deadlines(5.0, 20.0))
    yield engine
    await engine.close()


async def exhaust(stream: AsyncGenerator[object]) -> None:
    async for _ in stream:
        pass


async def pieces(*chunks: bytes) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_lines_are_whole_however_they_come() -> None:
    assert [line async for line in lines(pieces(b'{"a"', b": 1}\r\n\r\n{}", b"\n"))] == [b'{"a": 1}\r', b"{}"]


@pytest.mark.parametrize("tail", [b'{"Type": "conta', b"{}"])
async def test_a_line_without_its_end_is_of_an_engine_that_died(tail: bytes) -> None:
    with pytest.raises(EngineUnavailableError) as raised:
        await exhaust(lines(pieces(b"{}\n" + tail)))
    assert raised.value.trouble is Trouble.BROKEN


async def test_events_that_end_within_a_line_are_a_broken_engine(wire: Wire, engine: DockerEngine) -> None:
    wire.answers["GET", "/events"] = stream(b'{"Type": "container", "Act')
    with pytest.raises(EngineUnavailableError) as raised:
        await exhaust(engine.events(0.0))
    assert raised.value.trouble is Trouble.BROKEN


async def test_a_pull_that_ends_within_a_line_is_a_broken_engine(wire: Wire, engine: DockerEngine) -> None:
    wire.answers["POST", "/images/create"] = stream(b'{"status": "Pulling from x"}\r\n{"error": "no')
    with pytest.raises(EngineUnavailableError) as raised:
        await exhaust(engine.pull("example.org/x:1", None))
    assert raised.value.trouble is Trouble.BROKEN


async def test_removals_that_hang_hold_no_look_up(wire: Wire, engine: DockerEngine) -> None:
    wire.answers["GET", "/containers/well/json"] = answer(404, b'{"message": "No such container: well"}')
    async with asyncio.TaskGroup() as group:
        removals = [group.create_task(engine.remove(str(number))) for number in range(40)]
        await wire.until(SLOW_THREADS)
        async with asyncio.timeout(4):
            assert await engine.inspect("well") is None
        for removal in removals:
            removal.cancel()


@pytest.mark.parametrize(
    "text",
    [
        "Cannot kill container: c: tried to kill container, but did not receive an exit event",
        "Cannot kill container: c: container c PID 7 is zombie and can not be killed. Use the --init option",
        "tried to kill container, but did not receive an exit event",
    ],
)
async def test_a_kill_that_ends_nothing_is_refused_in_the_engines_words(
    wire: Wire, engine: DockerEngine, text: str
) -> None:
    wire.answers["POST", "/containers/c/kill"] = answer(500, b'{"message": "%s"}' % text.encode())
    with pytest.raises(EngineRefusedError, match=text):
        await engine.kill("c", "SIGKILL")


async def test_a_kill_of_what_does_not_run_is_fine(wire: Wire, engine: DockerEngine) -> None:
    text = b'{"message": "Cannot kill container: c: container c is not running"}'
    wire.answers["POST", "/containers/c/kill"] = answer(409, text)
    await engine.kill("c", "SIGKILL")


async def test_closing_breaks_off_the_calls_that_a_hung_engine_holds(
    wire: Wire, engine: DockerEngine
) -> None:
    async def close_soon() -> float:
        await wire.until(1)
        before = time.monotonic()
        await engine.close()
        return before

    broken, before = await asyncio.gather(engine.remove("c"), close_soon(), return_exceptions=True)
    assert isinstance(before, float)
    assert time.monotonic() - before < 2
    assert isinstance(broken, EngineUnavailableError)


async def test_a_process_leaves_at_once_though_the_engine_hangs(wire: Wire) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVES, str(wire.path), stderr=asyncio.subprocess.PIPE
    )
    try:
        await wire.until(2)
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            _, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert (child.returncode, said) == (0, b"")
