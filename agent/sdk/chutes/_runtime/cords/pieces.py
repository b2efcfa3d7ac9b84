"""chutes/_runtime/cords/pieces — a generator of the author's, piece by piece as bytes. Sends none of them."""

from __future__ import annotations

from asyncio import sleep
from os import getpid
from typing import Any

from chutes._runtime.cords.answers import json_of
from chutes._runtime.cords.threads import Threads, leave_if_forked
from chutes._runtime.failures import traceback_of
from chutes._runtime.lines import warn

_END = object()


def is_stream(value: Any) -> bool:
    """A generator of either kind, or what works like one."""
    return hasattr(value, "__anext__") or hasattr(value, "__next__")


class Pieces:
    def __init__(self, source: Any, threads: Threads) -> None:
        self._source = source
        self._threads = threads
        self._is_async = hasattr(source, "__anext__")
        self._pid = getpid()

    async def next(self) -> bytes | None:
        """None at its end. Raises what the generator raises, and NotJsonError."""
        piece = await self._pull()
        return None if piece is _END else as_bytes(piece)

    async def close(self) -> None:
        """Its `finally` runs. What that raises is told in the log alone."""
        try:
            if self._is_async:
                if hasattr(self._source, "aclose"):
                    await self._source.aclose()
            elif hasattr(self._source, "close"):
                await self._threads.run(self._source.close)
        except BaseException as error:  # noqa: BLE001 — the author's code, after all that was asked of it
            warn(f"a generator could not be closed: {traceback_of(error)}")

    async def _pull(self) -> Any:
        if not self._is_async:
            return await self._threads.run(next, self._source, _END)
        # One that never waits would else hold up all others.
        await sleep(0)
        try:
            return await self._source.__anext__()
        except StopAsyncIteration:
            return _END
        finally:
            leave_if_forked(self._pid)


def as_bytes(piece: Any) -> bytes:
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    if isinstance(piece, str):
        return piece.encode()
    return json_of(piece, "the yielded") + b"\n"
