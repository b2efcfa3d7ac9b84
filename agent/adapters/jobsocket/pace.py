"""adapters/jobsocket/pace — how fast one job is heard, over all of its connections. What comes faster is left in the kernel."""

import asyncio

from agent.core.allowance import opened, spend, wait_seconds

LINES_A_SECOND, LINES_AT_ONCE = 200, 400
BYTES_A_SECOND, BYTES_AT_ONCE = 4 << 20, 16 << 20
# What a job asks takes the database several reads, and a recorded value as much of the loop as so many bytes.
LINES_OF_A_QUESTION = 4
BYTES_OF_A_POINT = 200
CONNECTIONS_A_SECOND, CONNECTIONS_AT_ONCE = 10, 20

# What comes of cords is carried on as it is. A head is read in the loop, a frame takes as long as so many bytes, and to be woken for
# a byte, and to send it on, as long as for so many.
CORD_BYTES_A_SECOND, CORD_BYTES_AT_ONCE = 64 << 20, 64 << 20
BYTES_OF_A_HEAD_BYTE = 16
BYTES_OF_A_FRAME = 200
BYTES_OF_A_READ = 64 << 10


class CordPace:
    """How fast what the cords of one job answer is carried, over all of its lines: a step of one of them in a turn of the loop.

    Who has the turn says what his step takes before he waits for anything: so whoever is next knows it.
    """

    def __init__(self) -> None:
        self._bytes = opened(CORD_BYTES_A_SECOND, CORD_BYTES_AT_ONCE, _now())
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Also where nobody else waits the loop has gone round once."""
        async with self._turn:
            await asyncio.sleep(wait_seconds(self._bytes, _now()))

    def spend_read(self, count: int) -> None:
        self._spend(max(count, BYTES_OF_A_READ))

    def spend_head(self, count: int) -> None:
        """Beside its read."""
        self._spend(count * (BYTES_OF_A_HEAD_BYTE - 1))

    def spend_frames(self, count: int) -> None:
        self._spend(count * BYTES_OF_A_FRAME)

    def _spend(self, count: int) -> None:
        self._bytes = spend(self._bytes, count, _now())


class JobPace:
    """Waits in the caller's place. One line beyond a block is held at a time, so that a job takes no more memory than that.

    `lines`: how many connections beside its own it has for cords, which all come at once.
    """

    def __init__(self, lines: int = 0) -> None:
        now = _now()
        self._lines = opened(LINES_A_SECOND, LINES_AT_ONCE, now)
        self._bytes = opened(BYTES_A_SECOND, BYTES_AT_ONCE, now)
        self._connections = opened(CONNECTIONS_A_SECOND + lines, CONNECTIONS_AT_ONCE + 2 * lines, now)
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
