"""jobs/functions/cord_calls — which calls of cords are under way in which job, and how many jobs each has started. Makes none."""

from collections.abc import Iterator
from contextlib import contextmanager


class CordCalls:
    """What a job says of the call that it starts something in is believed of these alone."""

    def __init__(self) -> None:
        self._started: dict[tuple[str, str], int] = {}

    @contextmanager
    def making(self, job_id: str, call_id: str) -> Iterator[None]:
        """While the job answers the call."""
        key = (job_id, call_id)
        self._started[key] = 0
        try:
            yield
        finally:
            self._started.pop(key, None)

    def started(self, job_id: str, call_id: str) -> int | None:
        """How many jobs the call has started; None: it is not under way there."""
        return self._started.get((job_id, call_id))

    def note_start(self, job_id: str, call_id: str) -> None:
        """One more, where it is under way still."""
        if (job_id, call_id) in self._started:
            self._started[job_id, call_id] += 1
