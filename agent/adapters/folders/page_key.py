"""adapters/folders/page_key — the key that seals the cookies of jobs' pages, kept in `<state>/page-key`. Seals nothing itself."""

import asyncio
import os

from agent.adapters.folders import durable
from agent.adapters.folders.disk import Disk

NAME = "page-key"
KEY_BYTES = 32


class PageKey:
    """One key for the life of the state folder. To throw every visitor out: stop the agent, remove the file."""

    def __init__(self, root: int, disk: Disk) -> None:
        self._root = root
        self._disk = disk
        self._turn = asyncio.Lock()
        self._key: bytes | None = None

    async def read(self) -> bytes:
        """The key; the first time, it is made. Raises StateFullError, StateReadOnlyError."""
        # Two that come first at once must not each make one.
        async with self._turn:
            if self._key is None:
                self._key = await self._disk.run(read_or_make, self._root)
            return self._key


def read_or_make(root: int) -> bytes:
    try:
        key = durable.read_file(root, NAME)
    except FileNotFoundError:
        key = b""
    if len(key) != KEY_BYTES:
        # There is none, or it is damaged: a new one costs each visitor another `open`, and nothing else.
        key = os.urandom(KEY_BYTES)
        durable.replace_file(root, NAME, key)
    return key
