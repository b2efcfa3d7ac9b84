"""jobs/writing — one way to write a row, and to read both clocks. Decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.container import Container
from agent.core.job import BootTime, ClosedAttempt, Job, NewEvent, Now
from agent.interfaces import Clock
from agent.jobs.tools import Tools


@dataclass(frozen=True, slots=True)
class Known:
    """A row as just written, and the container as seen for it: enough for the next step, where nobody poked in between."""

    job: Job
    container: Container | None


async def write(
    tools: Tools, job: Job, events: Sequence[NewEvent] = (), closed: ClosedAttempt | None = None
) -> Job:
    """Write the next row where nobody wrote in between. Raises StaleError, StoreUnavailableError."""
    return await tools.store.save(job, events, closed)


def now_of(clock: Clock) -> Now:
    return Now(clock.now(), BootTime(clock.boot_id, clock.boot_seconds()))
