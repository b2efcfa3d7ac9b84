"""jobs/functions/keeper — what one job has told: each report taken once, in memory, and given out to be written. Writes nothing itself."""

import asyncio
from collections.abc import Sequence

from agent.core.job import NewEvent
from agent.core.metrics import MOST_NAMES, Metric, Number
from agent.core.told import MOST_TASKS, News, Told
from agent.interfaces import Telling

# A job is written at most once a second, and less often where what changed is much: it is nobody else's disk to fill.
WRITE_SECONDS = 1.0
POINTS_A_SECOND = 20_000
# So many are taken at once before others have their turn.
_SLICE = 500

Point = tuple[str, Number | str, float]


class Keeper:
    """Of one attempt. `told`: what the store has, of this attempt or of one before."""

    def __init__(self, job_id: str, attempt: int, told: Told) -> None:
        self._job_id = job_id
        self._attempt = attempt
        self._taken_seq = self._kept_seq = told.seq if told.attempt == attempt else 0
        self._progress = self._kept_progress = told.progress
        self._statuses = dict(told.statuses)
        self._metrics = {name: metric.copy() for name, metric in told.metrics.items()}
        self._changed: set[str] = set()
        self._turn = asyncio.Lock()
        self._kept = asyncio.Condition()
        self.next_at = 0.0  # by the loop's clock

    @property
    def has_news(self) -> bool:
        return self._taken_seq > self._kept_seq

    async def take(self, news: News, points: Sequence[Point]) -> None:
        """One that was taken before is not counted again."""
        async with self._turn:
            if news.seq <= self._taken_seq:
                return
            await self._take_points(points)
            self._progress = news.progress or self._progress
            self._take_statuses(news)
            self._taken_seq = news.seq

    async def wait_until_kept(self, seq: int) -> None:
        async with self._kept:
            await self._kept.wait_for(lambda: seq <= self._kept_seq)

    def hurry(self) -> None:
        """No more is to come that could be written with it."""
        self.next_at = 0.0

    async def telling(self) -> Telling:
        """What is to be written: whole reports, or what of the last one is there would count twice after a crash.

        `note_kept` or `note_not_kept` follows.
        """
        async with self._turn:
            changed, self._changed = self._changed, set()
            metrics = {name: self._metrics[name].copy() for name in changed}
            return Telling(
                self._job_id,
                self._attempt,
                self._taken_seq,
                self._progress,
                dict(self._statuses),
                metrics,
                self._events(),
            )

    async def note_kept(self, telling: Telling, now: float) -> None:
        self._kept_seq, self._kept_progress = telling.seq, telling.progress
        self.next_at = now + max(WRITE_SECONDS, telling.points / POINTS_A_SECOND)
        async with self._kept:
            self._kept.notify_all()

    def note_not_kept(self, telling: Telling) -> None:
        self._changed |= set(telling.metrics)

    def _events(self) -> list[NewEvent]:
        progress = self._progress
        if progress is None or progress == self._kept_progress:
            return []
        return [NewEvent("job.progress", {"percent": progress.percent, "message": progress.message})]

    async def _take_points(self, points: Sequence[Point]) -> None:
        for index, (name, value, at) in enumerate(points):
            metric = self._metrics.get(name)
            if metric is None and len(self._metrics) < MOST_NAMES:
                metric = self._metrics[name] = Metric()
            if metric is not None:
                metric.add(value, at)
                self._changed.add(name)
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    def _take_statuses(self, news: News) -> None:
        for task, status in news.statuses.items():
            # Anew, so that the one that was told longest ago is the first.
            self._statuses.pop(task, None)
            self._statuses[task] = status
        for task in list(self._statuses)[: max(0, len(self._statuses) - MOST_TASKS)]:
            del self._statuses[task]
