"""jobs/uploads/target — where a job's outputs go, with the secrets of it. Sends nothing."""

from agent.core.job import Job
from agent.interfaces import Folders
from agent.spec import Upload


async def find_target(folders: Folders, job: Job) -> Upload | None:
    """None: there were secrets, and they are lost."""
    kept = await folders.upload_target(job.id)
    written = job.spec.outputs.upload
    return kept or (None if written.has_secrets else written)
