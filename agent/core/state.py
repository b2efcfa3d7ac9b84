"""core/state — the edges between phases, as a table. Decides nothing: it refuses what is not an edge."""

from dataclasses import replace
from typing import Any

from agent.core.job import Job, NewEvent
from agent.errors import Phase

EDGES: frozenset[tuple[Phase, Phase]] = frozenset(
    {
        (Phase.QUEUED, Phase.STARTING),  # the grant
        (Phase.QUEUED, Phase.STOPPING),  # any stop request; no image to be had
        (Phase.STARTING, Phase.RUNNING),
        (Phase.STARTING, Phase.STOPPING),  # a stop request, or the start failed
        (Phase.RUNNING, Phase.STOPPING),  # a stop request, an exit seen, the container gone
        (Phase.STOPPING, Phase.QUEUED),  # the next attempt, or another lease
        (Phase.STOPPING, Phase.UPLOADING),
        (Phase.UPLOADING, Phase.FINISHED),
    }
)

# In these a job holds what its lease names, and counts against its queue's limit.
ACTIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})


class IllegalMoveError(Exception):
    """A step tried an edge that is not in the table: a bug of ours, which ends the job as internal_error."""


def move(job: Job, to: Phase, **changes: Any) -> tuple[Job, list[NewEvent]]:  # noqa: ANN401 - fields of Job, checked by replace
    """The next row, and the event that tells of it. Both are written in one transaction. Raises IllegalMoveError."""
    if (job.phase, to) not in EDGES:
        raise IllegalMoveError(f"{job.phase} → {to} is no edge")
    moved = replace(job, phase=to, **changes)
    return moved, [phase_event(moved, came_from=job.phase)]


def phase_event(job: Job, came_from: Phase | None) -> NewEvent:
    return NewEvent(
        "job.phase",
        {
            "from": came_from,
            "to": job.phase,
            "attempt": job.attempt,
            "outcome": job.outcome,
            "reason": job.reason.code if job.reason else None,
        },
    )
