"""jobs/failing — how a start that failed enters the row. Decides nothing of what follows."""

from dataclasses import replace

from agent.core.job import FailureKind, Job, StartFailure
from agent.core.state import move
from agent.errors import Phase
from agent.interfaces import JobFolderMissingError
from agent.jobs.tools import Tools
from agent.jobs.writing import write


async def fail(tools: Tools, job: Job, failure: StartFailure) -> None:
    """Why it failed is in the same write as *stopping*, or a crash between the two would forget it."""
    tools.images.leave(job.id)
    moved = move(job, Phase.STOPPING, waiting_for=None, run=replace(job.run, failure=failure))
    await write(tools, *moved)


def folder_missing(error: JobFolderMissingError) -> StartFailure:
    return StartFailure(FailureKind.FOLDER, error.code, str(error))
