"""A job that floods its socket: the loop goes on, memory stays, and another job's calls are answered as ever.

Each measures time: run these on a machine that does nothing else.
"""

import asyncio
import resource
import sys
from pathlib import Path

import pytest

from tests.contract import socket_floods
from tests.contract.job_caller import HELLO, Answering, Caller
from tests.contract.test_job_sockets import opened

pytestmark = pytest.mark.slow
SECONDS = 4.0
LAG_SECONDS = 0.020
GROWTH_BYTES = 64 << 20
# Of 4 MiB a second, and 16 MiB at once, with what the kernel holds.
MOST_BYTES = (16 << 20) + 5 * (4 << 20) + (8 << 20)


@pytest.mark.parametrize("flood", socket_floods.FLOODS)
async def test_a_flood_costs_nobody_else_anything(tmp_path: Path, flood: str) -> None:
    for name in ("hostile", "other"):
        (tmp_path / name).mkdir()
    calls = Answering()
    calls.padding = b"x" * 10_000
    calls.write()
    async with opened(tmp_path) as made:
        await made.open("hostile", Answering())
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
            lags = group.create_task(measure_lags(SECONDS))
            waits = group.create_task(measure_calls(tmp_path / "other", SECONDS))
        sent = int((await process.communicate())[0])
        assert percentile(lags.result(), 99) < LAG_SECONDS
        assert percentile(waits.result(), 99) < 2 * LAG_SECONDS
        assert sent < MOST_BYTES
        assert resident_bytes() - before < GROWTH_BYTES


async def measure_lags(seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    lags, end = [], loop.time() + seconds
    while (now := loop.time()) < end:
        await asyncio.sleep(0.002)
        lags.append(loop.time() - now - 0.002)
    return lags


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
