"""daemon/repair — `doctor --repair`: a damaged or missing database is replaced, and running jobs get their rows back."""

import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.folders import DiskFolders, open_folders
from agent.adapters.linux import SystemClock
from agent.adapters.sqlite import DatabaseDamagedError, SqliteStore, is_any_there, move_aside
from agent.aio import Threads
from agent.config import Config
from agent.core.container import Container
from agent.core.job import Job
from agent.core.reconcile import restore
from agent.core.ssh import keys_left
from agent.daemon.database import begin_repair, end_repair, is_another
from agent.daemon.values import DATABASE
from agent.jobs.record import JobRecord, read_record


async def repair(config: Config) -> list[str]:
    """What was done, a line each; empty: nothing was amiss. The agent must be stopped, the engine must answer. One that is cut off is
    begun anew by the next.

    Raises StateInUseError, EngineUnavailableError (before anything is changed), StateFullError, StateReadOnlyError.
    """
    async with AsyncExitStack() as stack:
        threads = Threads("folders", 1)
        folders = await open_folders(config.state_dir, config.runtime_dir, threads)
        stack.callback(folders.close)
        stack.callback(threads.close)
        engine = await DockerEngine.open(config.engine.socket, folders.agent_id)
        stack.push_async_callback(engine.close)
        path = config.state_dir / DATABASE
        if await is_sound(path, folders):
            return []
        # Asked first: without the engine's word, running jobs would be taken for gone.
        containers = [await engine.inspect(found.id) for found in await engine.ours()]
        done = _put_aside(path)
        store = await SqliteStore.open_store(path, SystemClock().now)
        stack.push_async_callback(store.close)
        await begin_repair(store)
        kept = await _give_rows_back(store, folders, [found for found in containers if found is not None])
        done += [f"{job_id}: its container goes on, under a new row" for job_id in kept]
        for job_id in sorted(await folders.ids() - set(kept)):
            await folders.drop_secrets(
                job_id
            )  # nobody will ever need them, and nobody would look for them there
            done.append(f"{job_id}: no container; its folder is now {await folders.set_aside(job_id)}")
        done += await _put_chutes_aside(folders, await store.version_ids())
        done += await drop_schedules(folders)
        await end_repair(store)
        for volume in await engine.volumes():
            # Its device was let go with the folder.
            if volume.job not in kept and await engine.remove_volume(volume.name):
                done.append(f"{volume.job}: its volume {volume.name} is removed")
        return done


async def _put_chutes_aside(folders: DiskFolders, used: set[str]) -> list[str]:
    """Their rows are gone for good: what running jobs use stays for them, the rest is kept for who looks for it."""
    return [
        f"chute version {version}: its files are now {await folders.chutes.set_aside(version)}; deploy it again"
        for version in sorted(await folders.chutes.ids() - used)
    ]


async def drop_schedules(folders: DiskFolders) -> list[str]:
    """When they fire and whose they are went with the database; what is left is specs with secrets, which nobody would look for there."""
    gone = sorted(await folders.schedules.ids())
    await folders.schedules.sweep(set())
    return [
        f"schedule {schedule}: its row is gone, and its file is removed; make it again" for schedule in gone
    ]


async def is_sound(path: Path, folders: DiskFolders) -> bool:
    has_folders = bool(await folders.ids() | await folders.chutes.ids() | await folders.schedules.ids())
    if not is_any_there(path):
        return not has_folders
    try:
        store = await SqliteStore.open_store(path, SystemClock().now)
    except DatabaseDamagedError:
        return False
    try:
        await store.check()
        return not (has_folders and await is_another(store))
    except DatabaseDamagedError:
        return False
    finally:
        await store.close()


def _put_aside(path: Path) -> list[str]:
    if not is_any_there(path):
        return ["there was no database; a new one was made"]
    moved = move_aside(path, datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    return [f"the database is now {moved}; a new one was made", "all tokens are gone: make new ones"]


async def _give_rows_back(store: SqliteStore, folders: DiskFolders, containers: list[Container]) -> list[str]:
    """A container without a readable record gets no row; the agent removes it at its start."""
    records = {record.job_id: record.content async for record in folders.records()}
    clock, kept = SystemClock(), []
    # Of one job's containers the latest attempt is the one that counts.
    for container in sorted(containers, key=lambda found: found.attempt or 0, reverse=True):
        record = _read(records.get(container.job or ""))
        if record is not None and record.id not in kept:
            fresh = Job(
                record.id,
                record.owner,
                record.kind,
                record.spec,
                record.created_at,
                queued_at=record.created_at,
                ssh_host_key=record.ssh_host_key,
                call=record.call,
            )
            if record.spec.ssh is not None:
                fresh = replace(fresh, ssh_keys=keys_left(fresh, await folders.authorized_keys(record.id)))
            await store.import_job(restore(fresh, container, clock.boot_id))
            kept.append(record.id)
    return kept


def _read(content: object | None) -> JobRecord | None:
    try:
        return read_record(json.dumps(content))
    except ValueError:
        return None
