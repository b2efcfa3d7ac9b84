"""jobs/schedules/calendar — when which schedule is to be looked at, and whose turn it is among many at once. Reads no clock."""

import heapq
from collections import deque
from collections.abc import Iterable

Date = tuple[str, float, str]  # whose, when, which


class Calendar:
    """Those that are due leave it owner by owner in turn: who has a thousand in one minute holds up nobody else's one."""

    def __init__(self, dates: Iterable[Date] = ()) -> None:
        self._heaps: dict[str, list[tuple[float, str]]] = {}
        self._turns: deque[str] = deque()
        for owner, when, schedule_id in dates:
            self.add(owner, when, schedule_id)

    def add(self, owner: str, when: float, schedule_id: str) -> None:
        if owner not in self._heaps:
            self._heaps[owner] = []
            self._turns.append(owner)
        heapq.heappush(self._heaps[owner], (when, schedule_id))

    def first(self) -> float | None:
        """When the next one is due; None: there is none."""
        return min((heap[0][0] for heap in self._heaps.values() if heap), default=None)

    def pop_due(self, now: float) -> str | None:
        """One that is due, which leaves the calendar; None: there is none."""
        for _ in range(len(self._turns)):
            owner = self._turns[0]
            self._turns.rotate(-1)
            heap = self._heaps[owner]
            if heap and heap[0][0] <= now:
                return heapq.heappop(heap)[1]
        return None
