"""adapters/folders/calls — what of a job's folder is a function's: payload, place of its socket, reports. Blocking; opens no socket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters.folders import durable
from agent.adapters.folders.names import is_job_id, job_folder
from agent.adapters.folders.state import CHUTES, State
from agent.core.finish import Finish, load_header
from agent.core.function import ReportStatus
from agent.interfaces import ChuteFilesMissingError, JobFolderMissingError, StoredReport

PAYLOAD, SOCKET = "payload.json", "sock"
FILES = "files"
# The mount is the boundary, and images run as any user: who is in there may enter, and only root of the host makes anything.
SOCKET_FOLDER_MODE = 0o755
# Of the line before a result, which holds a message and a traceback.
_MOST_HEADER_BYTES = 512 << 10


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


def report_name(attempt: int) -> str:
    return f"report.{attempt:d}"


def read_report(jobs: int, job_id: str, attempt: int, most_bytes: int) -> StoredReport | None:
    """None: there is none, or it is damaged."""
    with _opened_report(jobs, job_id, attempt) as number:
        found = None if number is None else _read_header(number)
        if number is None or found is None:
            return None
        finish, start, size = found
        return StoredReport(finish, size, os.pread(number, size, start) if size <= most_bytes else None)


def find_result(jobs: int, job_id: str, attempt: int) -> tuple[int, int, int] | None:
    """An open file, where in it the result begins, and its size. None: the function has not returned."""
    with _opened_report(jobs, job_id, attempt) as number:
        found = None if number is None else _read_header(number)
        if number is None or found is None or found[0].status is not ReportStatus.SUCCEEDED:
            return None
        return os.dup(number), *found[1:]


@contextmanager
def _opened_report(jobs: int, job_id: str, attempt: int) -> Iterator[int | None]:
    try:
        with durable.open_folder(jobs, job_folder(job_id)) as job:
            number = os.open(report_name(attempt), durable.READ, dir_fd=job)
    except FileNotFoundError:
        yield None
        return
    try:
        yield number
    finally:
        os.close(number)


def _read_header(number: int) -> tuple[Finish, int, int] | None:
    """What it says, where the result begins, and its size."""
    head = os.pread(number, _MOST_HEADER_BYTES, 0)
    line, end, _ = head.partition(b"\n")
    finish = load_header(line) if end else None
    start = len(line) + 1
    return None if finish is None else (finish, start, os.fstat(number).st_size - start)
