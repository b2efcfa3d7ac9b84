"""adapters/folders/held — what a job's outputs hold of the state folder's disk. Blocking; lists and opens no file."""

from agent.adapters.disk_use import held_below
from agent.adapters.folders import durable
from agent.adapters.folders.names import job_folder
from agent.adapters.folders.roots import OUTPUTS
from agent.core.disk_space import CountLimits, Held
from agent.interfaces import JobFolderMissingError


def held_by_outputs(jobs: int, job_id: str, limits: CountLimits) -> Held:
    """Nothing where they are in a quota, whose room was taken before it ran: their folder on the host is empty then.

    Raises JobFolderMissingError.
    """
    try:
        with (
            durable.open_folder(jobs, job_folder(job_id)) as job,
            durable.open_folder(job, OUTPUTS) as root,
        ):
            return held_below(root, limits)
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder of outputs") from error
