"""A job that floods its socket: the loop goes on, memory stays, and another job's calls are answered as ever.

Each measures time, most of it in a way that other load does not disturb.
"""

import asyncio
import gc
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.core.cord_answer import BadCordAnswerError, CordHead
from agent.core.finish import Finish
from agent.interfaces.cord_line import CordLine, CordLineBrokenError
from agent.interfaces.job_socket import Call
from tests.contract import socket_floods
from tests.contract.job_caller import HELLO, Answering, Caller
from tests.contract.test_job_sockets import opened

pytestmark = pytest.mark.slow
SECONDS = 4.0
LAG_SECONDS = 0.020
STALLED_SECONDS = 0.05 * SECONDS
GROWTH_BYTES = 64 << 20
# Of 4 MiB a second, and 16 MiB at once, with what the kernel holds.
MOST_BYTES = (16 << 20) + 5 * (4 << 20) + (8 << 20)


class Forgetful(Answering):
    """What is kept of a flood would be the test's memory, and not the socket's. Cords are called without a pause."""

    async def answer(self, call: Call) -> bytes:
        return b"null"

    async def take_report(self, call: Call) -> int:
        return len(call.metrics)

    async def finish(self, finish: Finish, result: AsyncIterator[bytes]) -> None:
        async for _ in result:
            pass

    async def serve(self, line: CordLine) -> None:
        while line.is_open:
            try:
                head = await line.call(b'{"cord":{}}')
                if isinstance(head, CordHead):
                    async for _ in line.body():
                        pass
            except (CordLineBrokenError, BadCordAnswerError):
                return


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """As the daemon does: to collect what all tests before have left would hold the loop for a third of a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize("flood", socket_floods.FLOODS)
async def test_a_flood_costs_nobody_else_anything(tmp_path: Path, flood: str) -> None:
    for name in ("hostile", "other"):
        (tmp_path / name).mkdir()
    calls = Answering()
    calls.padding = b"x" * 10_000
    calls.write()
    async with opened(tmp_path) as made:
        await made.open("hostile", Forgetful())
        await made.open("other", calls)
        before = resident_bytes()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(socket_floods.__file__)),
            str(tmp_path / "hostile" / "agent.sock"),
            flood,
            str(SECONDS),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.TaskGroup() as group:
            holds = group.create_task(measure_holds(SECONDS))
            waits = group.create_task(measure_calls(tmp_path / "other", SECONDS))
        sent = int((await process.communicate())[0])
        assert percentile(holds.result(), 99) < LAG_SECONDS
        # Few long holds are few samples: by the time that they take they count.
        assert sum(hold for hold in holds.result() if hold > LAG_SECONDS) < STALLED_SECONDS
        assert percentile(waits.result(), 50) < LAG_SECONDS
        assert sent < MOST_BYTES
        assert resident_bytes() - before < GROWTH_BYTES


@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize("answer", socket_floods.ANSWERS)
async def test_whatever_cords_answer_costs_no_other_job_its_calls(tmp_path: Path, answer: str) -> None:
    for name in ("hostile", "other"):
        (tmp_path / name).mkdir()
    calls, called = Answering(), Forgetful()
    called.lines = socket_floods.CONNECTIONS
    async with opened(tmp_path) as made:
        await made.open("hostile", called)
        await made.open("other", calls)
        before = resident_bytes()
        path = str(tmp_path / "hostile" / "agent.sock")
        arguments = (str(Path(socket_floods.__file__)), path, answer, str(SECONDS))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.TaskGroup() as group:
            holds = group.create_task(measure_holds(SECONDS))
            waits = group.create_task(measure_calls(tmp_path / "other", SECONDS))
        sent = int((await process.communicate())[0])
        assert sent > 1 << 20
        assert percentile(holds.result(), 99) < LAG_SECONDS
        assert sum(hold for hold in holds.result() if hold > LAG_SECONDS) < STALLED_SECONDS
        assert percentile(waits.result(), 50) < LAG_SECONDS
        assert resident_bytes() - before < GROWTH_BYTES


async def measure_holds(seconds: float) -> list[float]:
    """How long the loop was kept from us by what ran in it: in the time of its thread, so that a busy machine counts for nothing."""
    loop = asyncio.get_running_loop()
    holds, end = [], loop.time() + seconds
    while loop.time() < end:
        before = time.thread_time()
        await asyncio.sleep(0.002)
        holds.append(time.thread_time() - before)
    return holds


async def measure_calls(folder: Path, seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    waits, end = [], loop.time() + seconds
    async with Caller(folder) as caller:
        await caller.ask(HELLO)
        while (now := loop.time()) < end:
            assert await caller.ask({"id": 1, "call": "x"}) is not None
            waits.append(loop.time() - now)
            await asyncio.sleep(0.02)
    return waits


def percentile(values: list[float], wanted: int) -> float:
    return sorted(values)[len(values) * wanted // 100]


def resident_bytes() -> int:
    with Path("/proc/self/statm").open(encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
