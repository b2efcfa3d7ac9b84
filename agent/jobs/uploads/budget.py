"""jobs/uploads/budget — how many files leave the host at once, and whose is next. Sends nothing."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import count


@dataclass(slots=True, eq=False)
class _Waiter:
    owner: str
    job: str
    order: int
    granted: asyncio.Future[None]


class Budget:
    """`most` places for all jobs. A free one goes to the principal who has the fewest, of his to the job that has the fewest, then to
    who came first: neither ten thousand files of one job nor a hundred jobs of one principal hold up others.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._by_owner: Counter[str] = Counter()
        self._by_job: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        self._orders = count()

    async def enter(self, owner: str, job: str) -> None:
        """Wait for a place, to be given back by `leave`."""
        if self._taken < self._most and not self._waiters:
            self._take(owner, job)
            return
        waiter = _Waiter(owner, job, next(self._orders), asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.granted.cancelled():
                self.leave(owner, job)  # it was granted in the moment in which the wait was given up
            raise

    def leave(self, owner: str, job: str) -> None:
        self._taken -= 1
        for counter, key in ((self._by_owner, owner), (self._by_job, job)):
            counter[key] -= 1
            if counter[key] == 0:
                del counter[key]
        self._grant()

    def allow(self, most: int) -> None:
        """From now on so many. What is on its way above that goes on."""
        self._most = most
        self._grant()

    def _grant(self) -> None:
        while self._waiters and self._taken < self._most:
            self._grant_next()

    def _grant_next(self) -> None:
        waiter = min(self._waiters, key=self._rank)
        self._waiters.remove(waiter)
        if not waiter.granted.cancelled():  # its task was cancelled, and has not run since
            self._take(waiter.owner, waiter.job)
            waiter.granted.set_result(None)

    def _rank(self, waiter: _Waiter) -> tuple[int, int, int]:
        return self._by_owner[waiter.owner], self._by_job[waiter.job], waiter.order

    def _take(self, owner: str, job: str) -> None:
        self._taken += 1
        self._by_owner[owner] += 1
        self._by_job[job] += 1
