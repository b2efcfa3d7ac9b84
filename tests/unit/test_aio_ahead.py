"""one_ahead: the next item is made while the last is used, whoever uses it, and nothing is made any more once it is closed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from agent.aio import one_ahead


class Items:
    """Counts up to `last`, and says what has begun."""

    def __init__(self, last: int = 5) -> None:
        self.begun: list[int] = []
        self.is_closed = False
        self._last = last

    async def make(self) -> AsyncGenerator[int]:
        try:
            for number in range(1, self._last + 1):
                self.begun.append(number)
                await asyncio.sleep(0)
                yield number
        finally:
            self.is_closed = True


async def test_all_items_come_in_order() -> None:
    assert [number async for number in one_ahead(Items().make())] == [1, 2, 3, 4, 5]


async def test_the_next_is_begun_also_if_who_uses_the_last_never_waits() -> None:
    items = Items()
    seen = [(number, max(items.begun)) async for number in one_ahead(items.make())]
    assert seen == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 5)]


async def test_no_more_than_one_is_made_ahead_and_none_after_the_close() -> None:
    items = Items()
    async with aclosing(one_ahead(items.make())) as ahead:
        assert await anext(ahead) == 1
        for _ in range(10):
            await asyncio.sleep(0)
        assert items.begun == [1, 2]
    assert items.is_closed
    assert items.begun == [1, 2]
