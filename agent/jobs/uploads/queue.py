"""jobs/uploads/queue — which of a job's files is next, and when: for one who asks and many who settle. Sends nothing."""

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.aio import Flag

# A timer may be early by so much.
DUE_SECONDS = 0.001


@dataclass(slots=True, order=True)
class Item:
    """A file to be sent, not before `due` (the loop's time). `failures` and `changes`: of this file, until now."""

    due: float
    order: int
    path: str = field(compare=False)
    failures: int = field(default=0, compare=False)
    changes: int = field(default=0, compare=False)


class UploadQueue:
    """After a failure files go one at a time, and none before `pause_until`, until one has gone well: what is down is asked, not stormed."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._next = 0  # of those that were never taken: they come before what is tried again
        self._heap: list[Item] = []
        self._flag = Flag()
        self._on_their_way = 0
        self._failures = 0
        self._pause_until = 0.0

    @property
    def failures(self) -> int:
        """One after the other, of whichever files."""
        return self._failures

    async def take(self) -> Item | None:
        """The next file, when its time has come. None: every file is settled. For one caller."""
        while self._has_fresh or self._heap or self._on_their_way:
            self._flag.clear()
            seconds = self._seconds_to_wait()
            if seconds is not None and seconds < DUE_SECONDS:
                self._on_their_way += 1
                return self._pop()
            await self._flag.wait(seconds)
        return None

    def settle(self) -> None:
        """One is done with, sent or not, and the endpoint answers."""
        self._failures = 0
        self._pause_until = 0.0
        self._leave()

    def put_back(self, item: Item, pause: float) -> None:
        """It changed while it was sent: again after so many seconds."""
        item.due = asyncio.get_running_loop().time() + pause
        heapq.heappush(self._heap, item)
        self._leave()

    def fail(self, item: Item, pause: float) -> None:
        """The endpoint failed with it: again after so many seconds, and no other before that."""
        self._failures += 1
        self._pause_until = max(self._pause_until, asyncio.get_running_loop().time() + pause)
        self.put_back(item, pause)

    def _seconds_to_wait(self) -> float | None:
        """None: until somebody settles one."""
        if not (self._has_fresh or self._heap) or (self._failures and self._on_their_way):
            return None
        due = 0.0 if self._has_fresh else self._heap[0].due
        return max(due, self._pause_until) - asyncio.get_running_loop().time()

    @property
    def _has_fresh(self) -> bool:
        return self._next < len(self._paths)

    def _pop(self) -> Item:
        if not self._has_fresh:
            return heapq.heappop(self._heap)
        item = Item(0.0, self._next, self._paths[self._next])
        self._next += 1
        return item

    def _leave(self) -> None:
        self._on_their_way -= 1
        self._flag.set()
