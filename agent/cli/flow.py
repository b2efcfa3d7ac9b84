"""cli/flow — bytes from and to descriptors without holding up the event loop, whatever kind of file they are. Knows no command."""

import asyncio
import os
from collections.abc import AsyncIterator

from agent.aio import Apart

READ_BYTES = 1 << 16


async def chunks(descriptor: int) -> AsyncIterator[bytes]:
    """What can be read, until its end. A descriptor that can't be read has ended."""
    while chunk := await _read(descriptor):
        yield chunk


async def _read(descriptor: int) -> bytes:
    try:
        await _readable(descriptor)
        return os.read(descriptor, READ_BYTES)
    except OSError:  # closed; or a terminal whose other side is gone
        return b""


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    try:
        loop.add_reader(descriptor, _settle, ready)
    except (
        PermissionError
    ):  # a plain file, which is always ready, and which the kernel waits for in no other way
        return
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


class Sink:
    """Writes in a thread: who reads may rest for hours, and nobody waits for the thread when the program leaves.

    Not made non-blocking, since whoever shares the terminal or the pipe with us would find it so.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._apart = Apart(f"write to {descriptor}", 1)

    async def write(self, data: bytes) -> None:
        """Raises BrokenPipeError, OSError."""

        def write_all() -> None:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

        await self._apart.run(write_all)
