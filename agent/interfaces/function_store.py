"""interfaces/function_store — what functions tell of themselves, and whose children they are; the promises on each method. No implementation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.core.family import Family
from agent.core.job import NewEvent, Viewer
from agent.core.metrics import Metric
from agent.core.told import Progress, Told


@dataclass(frozen=True, slots=True)
class Telling:
    """What a job has told as of report `seq` of `attempt`. `metrics`: those that changed."""

    job_id: str
    attempt: int
    seq: int
    progress: Progress | None
    statuses: Mapping[str, str]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    events: Sequence[NewEvent] = ()

    @property
    def points(self) -> int:
        return sum(len(metric.points) for metric in self.metrics.values())


class FunctionStore(Protocol):
    """The rows beside the jobs that call a function. Each method is one transaction, durable when it returns."""

    async def told(self, job_id: str) -> Told:
        """All that the job has told; nothing of a job that calls no function."""
        ...

    async def told_briefly(self, job_id: str) -> Told:
        """As `told`, without the points of series."""
        ...

    async def series(self, job_id: str) -> dict[str, str]:
        """The points of each series as the JSON that clients read: there may be sixty thousand."""
        ...

    async def progress_of(self, job_ids: Sequence[str]) -> dict[str, Progress | None]:
        """For a page of jobs, whose statuses and metrics may be megabytes each; without those that call no function."""
        ...

    async def keep_told(self, tellings: Sequence[Telling]) -> None:
        """Keep these, with what they tell everybody, all or none. A job that is gone is fine."""
        ...

    async def children_of(self, job_ids: Sequence[str]) -> dict[str, list[str]]:
        """The ids of the jobs that each has started, in their order; every id is a key."""
        ...

    async def family(self, job_id: str, viewer: Viewer, limit: int) -> Family | None:
        """The job and all below it, at most `limit` of them, at least 1. None: no such job for this viewer. A job that was forgotten
        divides those above it from those below.
        """
        ...
