"""adapters/outgoing/pieces — a body in pieces as it is handed to the connection, watched so that it never stalls unseen. Reads no file."""

import asyncio
from collections.abc import AsyncGenerator

from agent.interfaces import Body

# Small enough that a slow endpoint that takes its bytes is told from one that stalls, large enough to cost nothing.
SLICE_BYTES = 256 << 10


class Pieces:
    """One body, sent once. `limit` is moved with each slice that the connection takes; `error` is what the body itself raised."""

    def __init__(self, body: Body, seconds: float) -> None:
        self.size_bytes = body.size_bytes
        self.limit: asyncio.Timeout | None = None
        self.error: Exception | None = None
        self.are_all_taken = False
        self._body = body
        self._seconds = seconds

    async def slices(self) -> AsyncGenerator[bytes]:
        """The next is asked for once the connection has taken the last."""
        try:
            async for piece in self._body.pieces():
                for start in range(0, len(piece), SLICE_BYTES):
                    self._moved()
                    yield piece if len(piece) <= SLICE_BYTES else piece[start : start + SLICE_BYTES]
        except Exception as error:
            self.error = error
            raise
        self.are_all_taken = True
        self._moved()

    def _moved(self) -> None:
        if self.limit is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
