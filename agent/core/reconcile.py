"""core/reconcile — whether a container of ours is wanted. Removing the unwanted ones is the janitor's."""

from agent.core.container import Container
from agent.core.job import Job
from agent.core.state import ACTIVE
from agent.errors import Phase

_OPEN = ACTIVE | {Phase.QUEUED}


def is_wanted(container: Container, job: Job | None) -> bool:
    """Its row is in queued…stopping with that attempt: then it is the runner's alone, whatever state it is in.

    A wider rule would kill what a new lease has just started; a narrower one leaves a late create as an orphan.
    """
    return job is not None and is_of_open_attempt(container.attempt, job)


def is_of_open_attempt(attempt: int | None, job: Job) -> bool:
    return job.phase in _OPEN and attempt == job.attempt
