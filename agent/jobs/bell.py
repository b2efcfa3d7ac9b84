"""jobs/bell — tells those who wait for news that there may be some. Carries no news: whoever is woken reads the store."""

import asyncio


class Bell:
    """Rung after each write of events. Take `listen()` before you read, wait for it after: so no ring is missed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake everyone who listens. From the loop's thread only."""
        self._next.set()
        self._next = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """The next ring."""
        return self._next


async def wait_for_ring(ring: asyncio.Event, seconds: float) -> None:
    """Return at the ring, or after `seconds`; the caller looks in either case."""
    try:
        async with asyncio.timeout(seconds):
            await ring.wait()
    except TimeoutError:
        return
