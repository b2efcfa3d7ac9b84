"""jobs/uploads/names — how many files' names the uploads of one principal hold in memory at once. Reads none."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# Of one principal: so many lists as long as a list may be. One that is read takes as much as two that are held.
MOST_LISTS, LISTS_READING = 4, 2


class Names:
    """A principal who has too many lists waits with the next one: each job may leave a hundred thousand files at an endpoint that is
    away for days, and all of them lie in the memory of one daemon.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._freed: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def reading(self, owner: str, most: int) -> AsyncIterator[Callable[[int], None]]:
        """A list that is about to be read, and has `most` names at most. To be called with how many it has, once it is."""
        count = LISTS_READING * most
        while self._held[owner] > MOST_LISTS * most - count:
            await self._freed.setdefault(owner, asyncio.Event()).wait()
        self._change(owner, count)

        def hold(now: int) -> None:
            nonlocal count
            self._change(owner, now - count)
            count = now

        try:
            yield hold
        finally:
            hold(0)

    def _change(self, owner: str, by: int) -> None:
        self._held[owner] += by
        if not self._held[owner]:
            del self._held[owner]
        if (freed := self._freed.pop(owner, None)) is not None:
            freed.set()
