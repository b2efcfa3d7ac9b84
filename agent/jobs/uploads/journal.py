"""jobs/uploads/journal — the journal of one upload, written so that many files share one write to the disk. Decides nothing."""

import asyncio

from agent.core.upload import JournalFile
from agent.interfaces import Store


class Journal:
    """Of the upload whose record has this `row`."""

    def __init__(self, store: Store, row: int) -> None:
        self._store = store
        self._row = row
        self._lock = asyncio.Lock()
        self._fresh: list[JournalFile] = []

    async def keep(self, file: JournalFile) -> None:
        """Durable when it returns: who waits for the disk meanwhile is written with the next one. Raises StoreUnavailableError."""
        self._fresh.append(file)
        async with self._lock:
            if not any(waiting is file for waiting in self._fresh):
                return  # the one before took it along
            batch = list(self._fresh)
            await self._store.keep_files(self._row, batch)
            del self._fresh[: len(batch)]
