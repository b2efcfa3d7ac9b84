"""jobs/turns — who may send now: so many at once in all, of one principal, and to one endpoint of his. Sends nothing.

One that hangs holds up its own endpoint's others, a principal with many of them his own, and nobody else.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MOST, MOST_OF_ONE, MOST_TO_ONE = 64, 16, 4


@dataclass(slots=True)
class _Gate:
    places: asyncio.Semaphore
    users: int = 0


@dataclass(slots=True)
class Turns:
    """First come, first served, at each of the three gates. The narrowest is passed first, so that who waits holds no wider one."""

    _all: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST))
    _gates: dict[tuple[str, ...], _Gate] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, owner: str, endpoint: str) -> AsyncIterator[None]:
        async with self._pass((owner, endpoint), MOST_TO_ONE), self._pass((owner,), MOST_OF_ONE), self._all:
            yield

    @asynccontextmanager
    async def _pass(self, key: tuple[str, ...], most: int) -> AsyncIterator[None]:
        gate = self._gates.setdefault(key, _Gate(asyncio.Semaphore(most)))
        gate.users += 1
        try:
            async with gate.places:
                yield
        finally:
            gate.users -= 1
            if gate.users == 0:
                del self._gates[key]
