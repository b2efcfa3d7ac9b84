"""adapters/jobsocket/pace — how fast one job is heard, over all of its connections. What comes faster is left in the kernel."""

import asyncio

from agent.core.allowance import opened, spend, wait_seconds

LINES_A_SECOND, LINES_AT_ONCE = 200, 400
BYTES_A_SECOND, BYTES_AT_ONCE = 4 << 20, 16 << 20
# What a job asks takes the database several reads, and a recorded value as much of the loop as so many bytes.
LINES_OF_A_QUESTION = 4
BYTES_OF_A_POINT = 200
CONNECTIONS_A_SECOND, CONNECTIONS_AT_ONCE = 10, 20


class JobPace:
    """Waits in the caller's place. One line beyond a block is held at a time, so that a job takes no more memory than that."""

    def __init__(self) -> None:
        now = _now()
        self._lines = opened(LINES_A_SECOND, LINES_AT_ONCE, now)
        self._bytes = opened(BYTES_A_SECOND, BYTES_AT_ONCE, now)
        self._connections = opened(CONNECTIONS_A_SECOND, CONNECTIONS_AT_ONCE, now)
        self._large = asyncio.Lock()
        self._holder: object | None = None

    async def pass_line(self) -> None:
        await asyncio.sleep(wait_seconds(self._lines, _now()))
        self._lines = spend(self._lines, 1, _now())

    async def pass_connection(self) -> None:
        await asyncio.sleep(wait_seconds(self._connections, _now()))
        self._connections = spend(self._connections, 1, _now())

    async def wait_for_bytes(self) -> None:
        await asyncio.sleep(wait_seconds(self._bytes, _now()))

    def spend_bytes(self, count: int) -> None:
        """Of what was read, and of what was answered: both cost us the same."""
        self._bytes = spend(self._bytes, count, _now())

    def spend_question(self) -> None:
        """Of a call that asks for something, beside its line."""
        self._lines = spend(self._lines, LINES_OF_A_QUESTION - 1, _now())

    def spend_points(self, count: int) -> None:
        self.spend_bytes(count * BYTES_OF_A_POINT)

    async def hold_large(self, holder: object) -> None:
        if self._holder is not holder:
            await self._large.acquire()
            self._holder = holder

    def let_large_go(self, holder: object) -> None:
        if self._holder is holder:
            self._holder = None
            self._large.release()


def _now() -> float:
    return asyncio.get_running_loop().time()
