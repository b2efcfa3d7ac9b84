"""adapters/folders/jobs — make, remove, sweep and set aside the folders of jobs. Blocking; looks at no output and no secret.

A folder is made as `<id>.<nonce>` and renamed, and renamed to `<id>.removed` before it is emptied: under `<id>` there is
always the whole of a job's folder. What else is found at the start was left by a crash.
"""

import errno
import json
import os
from dataclasses import dataclass
from secrets import token_hex

import structlog

from agent.adapters.folders import calls, durable, secrets, ssh
from agent.adapters.folders.names import is_half_made, is_job_id, job_folder
from agent.adapters.folders.roots import OUTPUTS
from agent.adapters.folders.state import ASIDE, JOBS, State
from agent.adapters.folders.tree import FolderNotRemovedError, remove_tree
from agent.interfaces import Claimed, JobFolderMissingError, Prepared, SecretFiles

RECORD = "spec.json"
# As /tmp: an image runs as any user, and what one user of it made no other may remove.
OUTPUTS_MODE = 0o1777

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """What `spec.json` of a job's folder says, as JSON. `content` None: it is missing or damaged."""

    job_id: str
    content: object | None


def claim(
    state: State, job_id: str, record: str, secrets_: SecretFiles, payload: bytes | None = None
) -> Claimed:
    """Make the job's folder, whole and synced, or leave the one that is there as it is."""
    name = f"{job_folder(job_id)}.{token_hex(8)}"
    try:
        os.mkdir(name, durable.PRIVATE_FOLDER, dir_fd=state.jobs)
        with durable.open_folder(state.jobs, name) as job:
            _fill(job, record, secrets_)
            if payload is not None:
                calls.write(job, payload)
            os.fsync(job)
        return _publish(state, name, job_id)
    finally:
        # Whatever went wrong, or where another was first: nothing of this call stays.
        _remove_half_made(state, name)


def _publish(state: State, name: str, job_id: str) -> Claimed:
    try:
        os.rename(name, job_id, src_dir_fd=state.jobs, dst_dir_fd=state.jobs)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return Claimed.EXISTS
        raise
    try:
        os.fsync(state.jobs)
    except OSError:
        os.rename(job_id, name, src_dir_fd=state.jobs, dst_dir_fd=state.jobs)
        raise
    return Claimed.MADE


def _fill(job: int, record: str, secrets_: SecretFiles) -> None:
    durable.write_file(job, RECORD, record.encode(), durable.PRIVATE_FILE)
    secrets.write(job, secrets_)
    if secrets_.host_key is not None:
        ssh.write(job, secrets_.host_key)
    durable.ensure_folder(job, OUTPUTS, OUTPUTS_MODE)


def _remove_half_made(state: State, name: str) -> None:
    try:
        remove_tree(state.jobs, name)
    except (OSError, FolderNotRemovedError) as error:
        # The caller gets what went wrong first. What is left has no job's name, and the next start removes it.
        _log.warning("folder.left", folder=name, why=str(error))


def read_secrets(state: State, job_id: str) -> SecretFiles:
    """The job's secrets. Raises JobFolderMissingError, also once they were dropped, and where they are damaged."""
    try:
        with durable.open_folder(state.jobs, job_folder(job_id)) as job:
            return secrets.read(job)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise JobFolderMissingError(job_id, "folder of secrets") from error
    except (ValueError, TypeError):
        raise JobFolderMissingError(
            job_id, "readable copy of the secrets"
        ) from None  # whose words may hold them


def prepare(state: State, job_id: str) -> Prepared:
    """Lay out what the container may see; the same again after a crash in the middle. Raises JobFolderMissingError."""
    values = read_secrets(state, job_id).values
    with durable.open_folder(state.jobs, job_id) as job:
        durable.ensure_folder(job, OUTPUTS, OUTPUTS_MODE)
        has_ssh = ssh.is_there(job)
        has_call = calls.is_there(job)
    home = state.path / JOBS / job_id
    outputs, ssh_folder = str(home / OUTPUTS), str(home / ssh.SSH) if has_ssh else None
    socket = str(home / calls.SOCKET) if has_call else None
    if not values:
        return Prepared(outputs, None, ssh_folder, socket)
    mounted = state.runtime_path / JOBS / secrets.lay_out(state.runtime_jobs, job_id, values)
    return Prepared(outputs, str(mounted), ssh_folder, socket)


def remove(state: State, job_id: str) -> None:
    """Remove both folders of the job. Gone is fine. Raises FolderNotRemovedError."""
    remove_tree(state.runtime_jobs, job_folder(job_id))
    _let_quota_go(state, job_id)
    removed = f"{job_id}.removed"
    remove_tree(state.jobs, removed)
    try:
        os.rename(job_id, removed, src_dir_fd=state.jobs, dst_dir_fd=state.jobs)
    except FileNotFoundError:
        return
    os.fsync(state.jobs)
    remove_tree(state.jobs, removed)


def _let_quota_go(state: State, job_id: str) -> None:
    """Before its image goes: a device that is left holds the room of a file that no name leads to."""
    state.roots.let_go(job_id)
    state.loops.release(job_id)


def sweep(state: State, known: set[str]) -> list[str]:
    """Remove folders of jobs that no row knows, and what a crash left half made or half removed.

    Returns the names removed. What has no job's name is none of ours and stays. What can't be removed is logged and stays,
    too: one such folder must not keep the daemon from its jobs.
    """
    swept = [
        name
        for name in sorted(durable.names_in(state.jobs))
        if is_half_made(name) or _is_unknown(name, known)
    ]
    removed = [name for name in swept if _is_removed(state, name)]
    for name in durable.names_in(state.runtime_jobs):
        if _is_unknown(name, known):
            remove_tree(state.runtime_jobs, name)
    return removed


def _is_unknown(name: str, known: set[str]) -> bool:
    return is_job_id(name) and name not in known


def _is_removed(state: State, name: str) -> bool:
    try:
        if is_job_id(name):
            remove(state, name)
        else:
            remove_tree(state.jobs, name)
    except (FolderNotRemovedError, OSError) as error:  # such as EIO
        _log.warning("folder.left", folder=name, why=str(error))
        return False
    return True


def job_ids(state: State) -> set[str]:
    """The jobs that have a folder."""
    return set(filter(is_job_id, durable.names_in(state.jobs)))


def set_aside(state: State, job_id: str) -> str | None:
    """Move the job's folder out of the agent's sight, to `<state>/aside`; its path there. None: there is none."""
    _let_quota_go(state, job_id)
    durable.ensure_folder(state.root, ASIDE, durable.PRIVATE_FOLDER)
    with durable.open_folder(state.root, ASIDE) as aside:
        # One that was set aside before stays as it is.
        name = f"{job_folder(job_id)}.{token_hex(4)}" if durable.is_there(aside, job_id) else job_id
        try:
            os.rename(job_id, name, src_dir_fd=state.jobs, dst_dir_fd=aside)
        except FileNotFoundError:
            return None
        os.fsync(aside)
    os.fsync(state.jobs)
    return str(state.path / ASIDE / name)


def read_record(state: State, job_id: str) -> FoundRecord:
    """The job's `spec.json`."""
    try:
        with durable.open_folder(state.jobs, job_folder(job_id)) as job:
            return FoundRecord(job_id, json.loads(durable.read_file(job, RECORD)))
    except (FileNotFoundError, ValueError):
        return FoundRecord(job_id, None)
