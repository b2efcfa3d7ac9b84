"""chutes/_runtime/reports — progress, metrics and statuses on their way to the host, a few times a second. Judges none of them.

One report is under way at a time. It is sent again as it is until it is answered, since the host may have it already; what comes
meanwhile is merged into the next. So neither a slow host nor a restarted one makes this grow or lose count.
"""

from __future__ import annotations

from json import dumps
from math import inf
from threading import RLock
from time import monotonic, time
from typing import Any, Callable, Mapping

from chutes._runtime.answer import Answer
from chutes._runtime.texts import clean

_INTERVAL_SECONDS = 0.1

# What is kept while the host is away, and what the host takes in one report.
_MOST_METRIC_BYTES = 512 << 10
_MOST_METRICS = 10_000
_MOST_STATUS_BYTES = 256 << 10
_MOST_TASKS = 100
_TASK_CHARACTERS, _STATUS_CHARACTERS = 200, 500


class Reports:
    def __init__(
        self,
        send: Callable[[str, Mapping[str, Any]], Answer],
        poke: Callable[[], None],
        complain: Callable[[str], None],
    ) -> None:
        """`poke` has `tick` called soon."""
        self._send = send
        self._poke = poke
        self._complain = complain
        # A signal handler of the author's may tell in the middle of telling.
        self._lock = RLock()
        self._last_seq = 0
        self._next_at = 0.0
        self._under_way = 0
        self._progress: dict[str, Any] | None = None
        self._metrics: list[list[Any]] = []
        self._metric_bytes = 0
        self._statuses: dict[str, str] = {}
        self._status_bytes = 0
        self._has_complained = False

    def keep_progress(self, percent: float, message: str | None) -> None:
        progress = {"percent": percent, "message": None if message is None else clean(message)}
        with self._lock:
            is_first = not self._has_news
            self._progress = progress
        if is_first:
            self._poke()

    def keep_metric(self, name: str, value: float | str) -> None:
        point = [clean(name), clean(value) if isinstance(value, str) else value, time()]
        size = _size(*point)
        with self._lock:
            is_first = not self._has_news
            fits = self._metric_bytes + size <= _MOST_METRIC_BYTES and len(self._metrics) < _MOST_METRICS
            if fits:
                self._metrics.append(point)
                self._metric_bytes += size
        if is_first:
            self._poke()
        if not fits:
            self._leave_out("metrics are recorded faster than the host takes them: some were left out")

    def keep_status(self, task: str, status: str) -> None:
        task, status = clean(task[:_TASK_CHARACTERS]), clean(status[:_STATUS_CHARACTERS])
        with self._lock:
            is_first = not self._has_news
            size = self._status_bytes + _size(task, status)
            if task in self._statuses:
                size -= _size(task, self._statuses[task])
            fits = size <= _MOST_STATUS_BYTES and (
                task in self._statuses or len(self._statuses) < _MOST_TASKS
            )
            if fits:
                self._statuses[task], self._status_bytes = status, size
        if is_first:
            self._poke()
        if not fits:
            self._leave_out(
                f"more tasks at once have a status than the {_MOST_TASKS} that the host shows: some were left out"
            )

    def tick(self, now: float) -> float:
        """Send what is due. When to come again."""
        with self._lock:
            if self._under_way or not self._has_news:
                return inf
            if now < self._next_at:
                return self._next_at
        self.flush()
        return inf

    def flush(self) -> None:
        """Send what there is, whatever is under way: nothing comes after it, or a result does."""
        with self._lock:
            if not self._has_news:
                return
            self._last_seq += 1
            self._next_at = monotonic() + _INTERVAL_SECONDS
            self._under_way += 1
            progress, self._progress = self._progress, None
            metrics, self._metrics, self._metric_bytes = self._metrics, [], 0
            statuses, self._statuses, self._status_bytes = self._statuses, {}, 0
            news = {"seq": self._last_seq, "progress": progress, "metrics": metrics, "statuses": statuses}
            # Within the lock, so that two reports leave in the order of their numbers.
            answer = self._send("report", news)
        answer.tell(self._arrived)

    @property
    def _has_news(self) -> bool:
        return bool(self._progress or self._metrics or self._statuses)

    def _arrived(self) -> None:
        with self._lock:
            self._under_way -= 1

    def _leave_out(self, why: str) -> None:
        if not self._has_complained:
            self._has_complained = True
            self._complain(why)


def _size(*values: Any) -> int:
    return len(dumps(values)) + 2
