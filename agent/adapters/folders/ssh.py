"""adapters/folders/ssh — a job's folder of SSH: its host key, and who may log in. Blocking; knows no key from another text.

`<job>/ssh/` is mounted read-only into the container as it is, whose user must be able to read it; on the host only root gets there.
It stays from attempt to attempt, and goes with the job's secrets.
"""

import os

from agent.adapters.folders import durable
from agent.adapters.folders.names import job_folder
from agent.adapters.folders.tree import remove_tree
from agent.interfaces import JobFolderMissingError

SSH, HOST_KEY, AUTHORIZED_KEYS = "ssh", "host_key", "authorized_keys"
_PART = "ssh.part"
# The server takes no key out of a folder or file that others may write to.
_FOLDER, _FILE = 0o755, 0o444


def write(job: int, host_key: bytes) -> None:
    """The host key, in a job's new folder, synced; its entry in `job` is not."""
    durable.ensure_folder(job, SSH, _FOLDER)
    with durable.open_folder(job, SSH) as folder:
        durable.write_file(folder, HOST_KEY, host_key, _FILE)
        os.fsync(folder)


def is_there(job: int) -> bool:
    return durable.is_there(job, SSH)


def keep_authorized_keys(jobs: int, job_id: str, text: str) -> None:
    """In the place of what was there: a connection reads all of one or all of the other. Raises JobFolderMissingError."""
    try:
        with durable.open_folder(jobs, job_folder(job_id)) as job, durable.open_folder(job, SSH) as folder:
            _replace(job, folder, text.encode())
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder of SSH") from error


def read_authorized_keys(jobs: int, job_id: str) -> str | None:
    """As they were kept last. None: they never were, or are gone with the folder."""
    try:
        with durable.open_folder(jobs, job_folder(job_id)) as job, durable.open_folder(job, SSH) as folder:
            return durable.read_file(folder, AUTHORIZED_KEYS).decode()
    except FileNotFoundError:
        return None


def _replace(job: int, folder: int, data: bytes) -> None:
    # Made beside the mounted folder, in which nothing half-made is ever seen.
    durable.unlink_if_there(job, _PART)
    try:
        durable.write_file(job, _PART, data, _FILE)
        os.rename(_PART, AUTHORIZED_KEYS, src_dir_fd=job, dst_dir_fd=folder)
    except OSError:
        durable.unlink_if_there(job, _PART)
        raise
    os.fsync(folder)


def drop(job: int) -> None:
    """Gone is fine."""
    remove_tree(job, SSH)
    durable.unlink_if_there(job, _PART)
