"""adapters/folders/secrets — a job's secrets: at rest in its folder, and laid out for its container. Prints none of them.

At rest: `secrets/env/NAME`, `secrets/registry.json`, `secrets/notify.json` and what `upload_secrets` keeps, private and synced. Where to
notify outlives the others: it goes when the last notification has. Once `env` is gone from beside it, the others count as dropped, whatever is left of them. For the
container: `<runtime>/jobs/<id>/secrets/NAME`, 0444 in 0755, since an image runs as any user; on the host only root gets there.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from agent.adapters.folders import durable, ssh, upload_secrets
from agent.adapters.folders.names import job_folder, secret_file
from agent.adapters.folders.tree import remove_tree
from agent.core.container import Credentials
from agent.core.notify import NotifyTarget
from agent.interfaces import SecretFiles

SECRETS, VALUES, REGISTRY, NOTIFY = "secrets", "env", "registry.json", "notify.json"
DROPPED = "secrets.removed"
_log = structlog.get_logger()
MOUNTED_FOLDER, MOUNTED_FILE = 0o755, 0o444


def write(job: int, secrets: SecretFiles) -> None:
    """Put the secrets into a job's new folder, synced. An empty folder needs no sync of its own: its name is in the job's."""
    durable.ensure_folder(job, SECRETS, durable.PRIVATE_FOLDER)
    if replace(secrets, host_key=None) == SecretFiles({}):
        return
    with durable.open_folder(job, SECRETS) as folder:
        durable.ensure_folder(folder, VALUES, durable.PRIVATE_FOLDER)
        with durable.open_folder(folder, VALUES) as values:
            for name, value in secrets.values.items():
                durable.write_file(values, secret_file(name), value.encode(), durable.PRIVATE_FILE)
            os.fsync(values)
        if secrets.registry is not None:
            data = json.dumps({"username": secrets.registry.username, "password": secrets.registry.password})
            durable.write_file(folder, REGISTRY, data.encode(), durable.PRIVATE_FILE)
        if secrets.notify is not None:
            data = json.dumps({"url": secrets.notify.url, "secret": secrets.notify.secret})
            durable.write_file(folder, NOTIFY, data.encode(), durable.PRIVATE_FILE)
        if secrets.upload is not None:
            upload_secrets.write_target(folder, secrets.upload)
        os.fsync(folder)


def read(job: int) -> SecretFiles:
    """The secrets as they were written. Raises FileNotFoundError once they were dropped; ValueError, TypeError where one that a
    container or a registry is to get is damaged.
    """
    with durable.open_folder(job, SECRETS) as folder:
        if not durable.is_there(folder, VALUES):
            if durable.is_there(folder, NOTIFY):
                raise FileNotFoundError(f"{VALUES} was dropped from beside {NOTIFY}")
            return SecretFiles({})
        with durable.open_folder(folder, VALUES) as values:
            texts = {
                name: durable.read_file(values, name).decode() for name in sorted(durable.names_in(values))
            }
        registry = _read_json(folder, REGISTRY)
        return SecretFiles(
            texts,
            None if registry is None else Credentials(**registry),
            _read_notify(folder),
            upload_secrets.read_target(folder),
        )


def read_target(jobs: int, job_id: str) -> NotifyTarget | None:
    """Where to notify; None: nowhere, or it was dropped."""
    try:
        with (
            durable.open_folder(jobs, job_folder(job_id)) as job,
            durable.open_folder(job, SECRETS) as folder,
        ):
            return _read_notify(folder)
    except FileNotFoundError:
        return None


def _read_notify(folder: int) -> NotifyTarget | None:
    try:
        found = _read_json(folder, NOTIFY)
        return None if found is None else NotifyTarget(**found)
    except (ValueError, TypeError) as error:  # damaged, or of another program: as good as gone
        _log.warning("secrets.damaged", file=NOTIFY, error=type(error).__name__)
        return None


def _read_json(folder: int, name: str) -> dict[str, str] | None:
    try:
        read: dict[str, str] = json.loads(durable.read_file(folder, name))
    except FileNotFoundError:
        return None
    return read


def lay_out(runtime_jobs: int, job_id: str, values: Mapping[str, str]) -> str:
    """Put the values where the container reads them; the path below the folder of running jobs.

    The folder keeps its inode and files with the right text stay, since a container may have them mounted already.
    """
    durable.ensure_folder(runtime_jobs, job_folder(job_id), durable.PRIVATE_FOLDER)
    with durable.open_folder(runtime_jobs, job_id) as job:
        durable.ensure_folder(job, SECRETS, MOUNTED_FOLDER)
        with durable.open_folder(job, SECRETS) as mounted:
            for name in set(durable.names_in(mounted)) - set(values):
                os.unlink(name, dir_fd=mounted)
            for name, value in values.items():
                _put(job, mounted, secret_file(name), value.encode())
    return f"{job_id}/{SECRETS}"


def _put(job: int, mounted: int, name: str, data: bytes) -> None:
    if _is_put(mounted, name, data):
        return
    # Made beside the mounted folder: a container sees a whole file or none. One name for all, so no name is too long.
    durable.unlink_if_there(job, "part")
    durable.write_file(job, "part", data, MOUNTED_FILE)
    os.rename("part", name, src_dir_fd=job, dst_dir_fd=mounted)


def _is_put(mounted: int, name: str, data: bytes) -> bool:
    try:
        return durable.read_file(mounted, name) == data
    except FileNotFoundError:
        return False


def drop(jobs: int, runtime_jobs: int, job_id: str) -> None:
    """Remove both copies, for good even after a power cut. Gone is fine."""
    remove_tree(runtime_jobs, job_folder(job_id))
    try:
        with durable.open_folder(jobs, job_id) as job:
            ssh.drop(job)
            _drop_at_rest(job)
    except FileNotFoundError:
        return


def drop_used(jobs: int, runtime_jobs: int, job_id: str) -> None:
    """As `drop`, and where to notify stays."""
    remove_tree(runtime_jobs, job_folder(job_id))
    try:
        with durable.open_folder(jobs, job_id) as job:
            ssh.drop(job)
            if _is_in_secrets(job, NOTIFY):
                _drop_beside_target(job)
            else:
                _drop_at_rest(job)
    except FileNotFoundError:
        return


def drop_target(jobs: int, job_id: str) -> None:
    """Remove where to notify; with it the folder, where nothing else is left in it. Gone is fine."""
    try:
        with durable.open_folder(jobs, job_folder(job_id)) as job:
            if not _is_in_secrets(job, VALUES) and not _is_in_secrets(job, upload_secrets.TARGET):
                _drop_at_rest(job)
                return
            with durable.open_folder(job, SECRETS) as folder:
                durable.unlink_if_there(folder, NOTIFY)
                os.fsync(folder)
    except FileNotFoundError:
        return


def _is_in_secrets(job: int, name: str) -> bool:
    try:
        with durable.open_folder(job, SECRETS) as folder:
            return durable.is_there(folder, name)
    except FileNotFoundError:
        return False


def _drop_beside_target(job: int) -> None:
    remove_tree(job, DROPPED)
    with durable.open_folder(job, SECRETS) as folder:
        # First, and in one step: from here on none of them counts.
        with suppress(FileNotFoundError):  # dropped before
            os.rename(VALUES, DROPPED, src_dir_fd=folder, dst_dir_fd=job)
        durable.unlink_if_there(folder, REGISTRY)
        upload_secrets.drop_all(folder)
        os.fsync(folder)
    remove_tree(job, DROPPED)
    os.fsync(job)


def _drop_at_rest(job: int) -> None:
    remove_tree(job, DROPPED)
    # A crash within the removal must leave none of them, not some: half a job's secrets would look like all.
    with suppress(FileNotFoundError):  # dropped before
        os.rename(SECRETS, DROPPED, src_dir_fd=job, dst_dir_fd=job)
    remove_tree(job, DROPPED)
    os.fsync(job)
