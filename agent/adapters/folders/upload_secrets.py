"""adapters/folders/upload_secrets — where a job's outputs are sent, and where half-sent ones lie, in its folder of secrets. Sends nothing.

`upload.json` is the upload of the spec, whole. `tus.jsonl` has a line for each upload that was begun, since who knows its place may
write there: the last line of a path counts, and one that a crash cut short is none.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import structlog

from agent.adapters.folders import durable
from agent.adapters.folders.names import job_folder, part_of
from agent.interfaces import JobFolderMissingError
from agent.spec import Upload

_log = structlog.get_logger()
TARGET, PLACES, SECRETS = "upload.json", "tus.jsonl", "secrets"


def write_target(folder: int, upload: Upload) -> None:
    """Into a new folder of secrets. The caller syncs it."""
    durable.write_file(folder, TARGET, upload.model_dump_json().encode(), durable.PRIVATE_FILE)


def read_target(folder: int) -> Upload | None:
    try:
        return Upload.model_validate_json(durable.read_file(folder, TARGET))
    except FileNotFoundError:
        return None
    except ValueError as error:  # damaged, or of another program: as good as gone
        _log.warning("secrets.damaged", file=TARGET, error=type(error).__name__)
        return None


def drop_all(folder: int) -> None:
    """The caller syncs it."""
    for name in (part_of(TARGET), PLACES, TARGET):
        durable.unlink_if_there(folder, name)


def find_target(jobs: int, job_id: str) -> Upload | None:
    """Of a job, whatever else of its secrets is there."""
    try:
        with _open_secrets(jobs, job_id) as folder:
            return read_target(folder)
    except FileNotFoundError:
        return None


def keep_target(jobs: int, job_id: str, upload: Upload) -> None:
    """Whole or not at all, in the place of another. Raises JobFolderMissingError."""
    try:
        _ensure_secrets(jobs, job_id)
        with _open_secrets(jobs, job_id) as folder:
            durable.replace_file(folder, TARGET, upload.model_dump_json().encode())
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder of secrets") from error


def read_places(jobs: int, job_id: str, is_wanted: Callable[[str], bool], most: int) -> dict[str, str]:
    """Line by line: of a job with many files there are far more than are wanted."""
    found: dict[str, str] = {}
    with (
        suppress(FileNotFoundError),  # no upload was begun, or its places were dropped
        _open_secrets(jobs, job_id) as folder,
        os.fdopen(os.open(PLACES, durable.READ, dir_fd=folder), "rb") as lines,
    ):
        for path, place in filter(lambda kept: is_wanted(kept[0]), _read_lines(lines)):
            found.pop(path, None)
            found[path] = place
            if len(found) > most:
                del found[next(iter(found))]
    return found


def keep_place(jobs: int, job_id: str, path: str, place: str) -> None:
    """Raises JobFolderMissingError."""
    # The line end comes first: behind what a crash cut short a new line begins.
    line = "\n" + json.dumps([path, place])
    try:
        _ensure_secrets(jobs, job_id)
        with _open_secrets(jobs, job_id) as folder:
            is_new = not durable.is_there(folder, PLACES)
            number = os.open(PLACES, durable.APPEND, durable.PRIVATE_FILE, dir_fd=folder)
            try:
                durable.write_all(number, line.encode())
                os.fsync(number)
            finally:
                os.close(number)
            if is_new:
                os.fsync(folder)
    except FileNotFoundError as error:
        raise JobFolderMissingError(job_id, "folder of secrets") from error


def drop(jobs: int, job_id: str) -> None:
    """Both files of a job, for good even after a power cut. Gone is fine."""
    try:
        with _open_secrets(jobs, job_id) as folder:
            drop_all(folder)
            os.fsync(folder)
    except FileNotFoundError:
        return


def _read_lines(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        try:
            path, place = json.loads(line)
        except ValueError:  # empty, or cut short
            continue
        yield path, place


def _ensure_secrets(jobs: int, job_id: str) -> None:
    """It went with the job's own at its end; an upload that is retried needs it once more."""
    with durable.open_folder(jobs, job_folder(job_id)) as job:
        durable.ensure_folder(job, SECRETS, durable.PRIVATE_FOLDER)


@contextmanager
def _open_secrets(jobs: int, job_id: str) -> Iterator[int]:
    with durable.open_folder(jobs, job_folder(job_id)) as job, durable.open_folder(job, SECRETS) as folder:
        yield folder
