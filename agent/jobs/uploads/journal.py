"""jobs/uploads/journal — the journal of one upload, read in pages, and written so that many files share one write. Decides nothing."""

import asyncio
from collections.abc import AsyncGenerator

from agent.core.upload import JournalFile
from agent.interfaces import Store

# Each is some hundred bytes.
FILES_A_PAGE = 1_000


async def journal_pages(store: Store, row: int) -> AsyncGenerator[list[JournalFile]]:
    after = ""
    while page := await store.journal(row, after, FILES_A_PAGE):
        yield page
        after = page[-1].path


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
