"""jobs/given_ids — one at a time under each id: of who comes in under it, and who forgets the job that had it before. Knows no job.

A client may choose an id, and choose it again once its job is forgotten. The folder goes before the row and comes before it: what one
looked at before it waited for the disk must not be another job's when it goes on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class GivenIds:
    """Of one daemon."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def turn(self, job_id: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(job_id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[job_id]
