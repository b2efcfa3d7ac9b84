"""A process on a terminal of its own, and whoever sits at it: types, sees, drags the window's corner."""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any


class PtyProcess:
    def __init__(self, process: asyncio.subprocess.Process, master: int, slave: int) -> None:
        self.process = process
        self.seen = b""
        self.before = list(termios.tcgetattr(slave))
        self._master = master
        self._slave = slave
        self._arrived = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    @classmethod
    @asynccontextmanager
    async def started(
        cls, *words: str, cwd: Path, env: Mapping[str, str], size: tuple[int, int] = (80, 24)
    ) -> AsyncIterator["PtyProcess"]:
        """Our end of the slave stays open, so that its settings can be looked at when the process has ended."""
        master, slave = os.openpty()
        resize(slave, size)

        # Of a session of its own, whose terminal it is.
        process = await asyncio.create_subprocess_exec(
            "setsid", "--ctty", *words, cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave
        )
        made = cls(process, master, slave)
        try:
            yield made
        finally:
            asyncio.get_running_loop().remove_reader(master)
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.close(master)
            os.close(slave)

    @property
    def settings(self) -> list[Any]:
        return list(termios.tcgetattr(self._slave))

    def set(self, settings: list[Any]) -> None:
        """As a shell does with its terminal when a job of its own was stopped."""
        termios.tcsetattr(self._slave, termios.TCSANOW, settings)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def drag(self, size: tuple[int, int]) -> None:
        resize(self._master, size)

    async def until(self, words: bytes) -> bytes:
        """What was seen up to these words."""
        async with asyncio.timeout(20):
            while words not in self.seen:
                self._arrived.clear()
                await self._arrived.wait()
        before, _, self.seen = self.seen.partition(words)
        return before

    async def code(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 20)

    def _read(self) -> None:
        self.seen += os.read(self._master, 65_536)
        self._arrived.set()


def resize(descriptor: int, size: tuple[int, int]) -> None:
    columns, rows = size
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
