"""jobs/uploads/ahead — small files of one upload, read before their turn: one call of a thread serves many. Sends nothing."""

import asyncio
from collections.abc import Sequence

from agent.interfaces import Offered, OutputFolders, SmallOutput

# To ask a thread costs more than to read a small file does. So much waits in memory, of each upload, also while it waits for a place.
FILES, BYTES = 32, 256 << 10
# Of a file that has grown since it was listed, too.
BYTES_OF_ONE = 64 << 10


class ReadAhead:
    """`files` are taken in their order; what is asked for once more, or was too large, is the asker's own to read."""

    def __init__(self, folders: OutputFolders, job_id: str, files: Sequence[Offered]) -> None:
        self._folders = folders
        self._job_id = job_id
        self._files = files
        self._next = 0
        self._held: dict[str, SmallOutput] = {}
        self._lock = asyncio.Lock()

    async def take(self, path: str) -> SmallOutput | None:
        """The file as it was a moment ago, once. None: it has to be opened, which also tells what is wrong with it.

        Raises JobFolderMissingError, Openat2MissingError, QuotaUnavailableError.
        """
        async with self._lock:  # who comes while some are read finds his among them
            if self._next < len(self._files) and self._files[self._next].path == path:
                await self._read_on()
            return self._held.pop(path, None)

    async def _read_on(self) -> None:
        paths, size = [], 0
        for file in self._files[self._next : self._next + FILES]:
            size += file.size_bytes
            if file.size_bytes > BYTES_OF_ONE or size > BYTES:
                break
            paths.append(file.path)
        self._next += max(1, len(paths))
        if paths:
            self._held |= await self._folders.read_ahead(self._job_id, paths, BYTES_OF_ONE)
