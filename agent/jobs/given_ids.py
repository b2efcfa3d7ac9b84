"""jobs/given_ids — one at a time under each id: of who comes in under it, and who forgets the job that had it before. Knows no job.

A client may choose an id, and choose it again once its job is forgotten. The folder goes before the row and comes before it: what one
looked at before it waited for the disk must not be another job's when it goes on.
"""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary


@dataclass(frozen=True, slots=True)
class GivenIds:
    """Of one daemon. A turn is kept for as long as somebody has it or waits for it."""

    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    def turn(self, job_id: str) -> asyncio.Lock:
        return self._turns.setdefault(job_id, asyncio.Lock())
