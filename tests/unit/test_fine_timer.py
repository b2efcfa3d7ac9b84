"""Waits that are shorter than the event loop's own, on the kernel's timer."""

import asyncio
import time
from contextlib import closing
from pathlib import Path

import pytest

from agent.adapters.docker.pace import FineTimer

WAITS, NANOS = 100, 100_000


async def test_a_wait_is_not_rounded_to_the_loops_millisecond() -> None:
    """The best of some rounds: another process may take the processor in any of them."""

    async def time_round(timer: FineTimer) -> float:
        began = time.perf_counter()
        for _ in range(WAITS):
            await timer.wait(NANOS)
        return time.perf_counter() - began

    with closing(FineTimer()) as timer:
        best = min([await time_round(timer) for _ in range(5)])
    assert WAITS * NANOS / 1e9 <= best < WAITS * 0.001


async def test_a_wait_that_was_given_up_does_not_end_the_next_one() -> None:
    with closing(FineTimer()) as timer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(timer.wait(50_000_000), 0.01)
        began = time.perf_counter()
        await timer.wait(100_000_000)
        assert time.perf_counter() - began >= 0.1


async def test_closing_gives_the_file_back() -> None:
    before = _count_files()
    FineTimer().close()
    assert _count_files() == before


def _count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
