"""api/metrics/counting — jobs counted for all who scrape at one time together. Counts none itself."""

import asyncio
from collections.abc import Collection

from agent.core.job_counts import JobCounts
from agent.interfaces import Store


class Counting:
    """With ten thousand queued jobs a count takes the database's one thread 60 ms: a hundred scrapes at once must not take a hundred."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._begun_at = float("-inf")
        self._counts = JobCounts()

    async def take(self, queues: Collection[str]) -> JobCounts:
        """As of now or later, never of before it was asked for. Raises StoreUnavailableError."""
        now = asyncio.get_running_loop().time
        asked_at = now()
        async with self._turn:
            if self._begun_at <= asked_at:
                begun_at = now()
                self._counts = await self._store.counts(queues)
                self._begun_at = begun_at
            return self._counts
