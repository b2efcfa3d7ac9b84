"""Work beside a block: it ends with the block, and a mistake in it is not lost."""

import asyncio

import pytest
from structlog.testing import capture_logs

from agent.aio import beside


async def test_work_ends_with_its_block_and_says_nothing() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with capture_logs() as told:
        async with beside(work(), "work"):
            await asyncio.sleep(0)
    assert (ended.is_set(), told) == (True, [])


async def test_a_mistake_in_the_work_is_in_the_log_and_the_blocks_own_comes_as_it_is() -> None:
    async def work() -> None:
        raise ValueError("a mistake")

    async def fail_beside_it() -> None:
        async with beside(work(), "work"):
            await asyncio.sleep(0)
            raise KeyError

    with capture_logs() as told, pytest.raises(KeyError):
        await fail_beside_it()
    assert [(line["event"], line["task"], str(line["exc_info"])) for line in told] == [
        ("task.broke", "work", "a mistake")
    ]
