"""jobs/writing — one way to write a row. Decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.core.container import Container, ContainerState
from agent.core.job import ClosedAttempt, Job, NewEvent
from agent.errors import Phase
from agent.jobs.tools import Tools


@dataclass(frozen=True, slots=True)
class Known:
    """A row as just written, and the container as seen for it: enough for the next step, where nobody poked in between."""

    job: Job
    container: Container | None

    def container_has_ended_for(self, job: Job) -> bool:
        """Whether the container is `job`'s own and was seen at its end: it changes no more."""
        seen = self.container
        return seen is not None and seen.id == job.container and seen.state is ContainerState.EXITED


async def write(
    tools: Tools, job: Job, events: Sequence[NewEvent] = (), closed: ClosedAttempt | None = None
) -> Job:
    """Write the next row where nobody wrote in between. Raises StaleError, StoreUnavailableError."""
    if job.phase is Phase.FINISHED:
        tools.hiding.drop(job.id)  # its secrets were dropped before
    return await tools.store.save(_without_secrets(tools, job), events, closed)


def _without_secrets(tools: Tools, job: Job) -> Job:
    """Why a start failed is told in the words of the engine or the registry, why a function did in its author's; both may repeat
    what we gave them.
    """
    failure, report, hide = job.run.failure, job.run.report, tools.hiding.hide
    if failure is not None:
        failure = replace(failure, message=hide(failure.message))
    if report is not None and report.message is not None:
        report = replace(report, message=hide(report.message))
    hidden = replace(job.run, failure=failure, report=report)
    return job if hidden == job.run else replace(job, run=hidden)
