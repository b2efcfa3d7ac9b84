"""adapters/folders/calls — what of a job's folder is a function's: its payload, the place of its socket. Blocking; opens no socket."""

import os

from agent.adapters.folders import durable
from agent.adapters.folders.names import is_job_id, job_folder
from agent.adapters.folders.state import CHUTES, State
from agent.interfaces import ChuteFilesMissingError, JobFolderMissingError

PAYLOAD, SOCKET = "payload.json", "sock"
FILES = "files"
# The mount is the boundary, and images run as any user: who is in there may enter, and only root of the host makes anything.
SOCKET_FOLDER_MODE = 0o755


def write(job: int, payload: bytes) -> None:
    """Into a folder that is being made."""
    durable.write_file(job, PAYLOAD, payload, durable.PRIVATE_FILE)
    durable.ensure_folder(job, SOCKET, SOCKET_FOLDER_MODE)


def is_there(job: int) -> bool:
    return durable.is_there(job, SOCKET)


def read_payload(jobs: int, job_id: str) -> bytes:
    """Raises JobFolderMissingError."""
    try:
        with durable.open_folder(jobs, job_folder(job_id)) as job:
            return durable.read_file(job, PAYLOAD)
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "payload") from error


def chute_files(state: State, version: str) -> str:
    """Raises ChuteFilesMissingError."""
    if not is_job_id(version):
        raise ValueError(f"not a version's id: {version!r}")
    try:
        with durable.open_folder(state.chutes, version) as folder:
            os.close(os.open(FILES, durable.FOLDER, dir_fd=folder))
    except FileNotFoundError as error:
        raise ChuteFilesMissingError(version) from error
    return str(state.path / CHUTES / version / FILES)
