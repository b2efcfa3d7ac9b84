"""daemon/serve — the daemon from its start to its end: adapters opened, shell wired, API opened, all closed in reverse. Names few of them: `outside` and `parts` do."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from agent import log as logging
from agent.adapters import systemd
from agent.adapters.folders import DiskFolders, open_folders
from agent.adapters.linux import share_one_heap
from agent.adapters.sqlite import SqliteStore
from agent.aio import Threads, spawn, stand
from agent.api.app import ApiParts, build_app
from agent.api.sites import Sites, open_sites
from agent.config import Config
from agent.core.shortage import is_shortage
from agent.daemon.database import note_served, open_database
from agent.daemon.functions import function_calls
from agent.daemon.outside import open_outside
from agent.daemon.parts import build_parts
from agent.daemon.reload import Places, Reload
from agent.daemon.values import listen_of, settings_of
from agent.interfaces import Folders, JobFolderMissingError, Store
from agent.jobs.assembly import Shell, assemble
from agent.jobs.hiding import Hiding

log = structlog.get_logger()

FOLDER_THREADS = 8
WATCHDOG_SECONDS = 10.0


class LeaveError(Exception):
    """Asked to leave by a signal: the way out of the task group."""


def run(config: Config, read_config: Callable[[], Config] | None = None) -> int:
    """Serve until a signal (0) or a fault (1). `read_config` reads the config anew, for SIGHUP. Raises AgentError at the start."""
    redactor = logging.configure(config.log.level, config.log.format)
    share_one_heap()  # before any thread begins
    try:
        asyncio.run(serve(config, read_config, redactor))
    except BaseExceptionGroup as ends:
        faults = ends.split(LeaveError)[1]
        if faults is not None:
            log.critical("daemon.failed", exc_info=faults)
            return 1
    log.info("daemon.left")
    return 0


async def serve(config: Config, read_config: Callable[[], Config] | None, redactor: logging.Redactor) -> None:
    """Never returns: raises an ExceptionGroup of what ended it. Containers go on, and are adopted by the next one."""
    async with AsyncExitStack() as stack:
        folders = await _open_folders(config, stack)
        store = await _open_store(config, folders, stack)
        opened = await open_outside(config, folders, store, redactor, stack)
        outside, current = opened.outside, opened.current
        settings = settings_of(config, current.policy.dns)
        shell = assemble(outside, current, settings)
        await hide_secrets(store, folders, shell.tools.hiding)
        # Before any GPU is looked at or started on: what it did while nobody listened counts for the first look.
        await opened.kernel_log.open()
        parts = build_parts(config, outside, settings, shell, folders)
        shell.tools.functions.answer_by(function_calls(parts))
        shell.tools.functions.call_cords_by(parts.cords.hosts)
        sites = await open_sites(build_app(parts), listen_of(config))
        stack.push_async_callback(sites.close)
        log.info("daemon.started", agent=folders.agent_id, listen=str(config.api.listen), port=sites.port)
        tools = shell.tools
        places = Places(settings, current, shell.janitor, parts.outputs, tools.uploads.allow, tools.ask_grant)
        await _stand(shell, parts, sites, Reload(config, read_config, places))


async def _open_folders(config: Config, stack: AsyncExitStack) -> DiskFolders:
    threads = Threads("folders", FOLDER_THREADS)
    folders = await open_folders(config.state_dir, config.runtime_dir, threads)
    stack.callback(folders.close)
    stack.callback(threads.close)
    return folders


async def _open_store(config: Config, folders: DiskFolders, stack: AsyncExitStack) -> SqliteStore:
    """Before the API opens, what no row knows is swept: a folder that a crash left half-made."""
    store = await open_database(config.state_dir)
    stack.push_async_callback(store.close)
    await note_served(store)
    for name in await folders.sweep(await store.job_ids()):
        log.info("folder.swept", folder=name)
    for name in await folders.chutes.sweep(await folders.chutes.names(), await store.version_ids()):
        log.info("folder.swept", folder=name)
    for name in await folders.schedules.sweep(await store.schedule_ids()):
        log.info("file.swept", schedule=name)
    return store


async def hide_secrets(store: Store, folders: Folders, hiding: Hiding) -> None:
    """Of the jobs that an earlier daemon accepted and that are not over."""
    for job in await store.unfinished():
        try:
            hiding.add(job.id, await folders.secrets(job.id))
        except JobFolderMissingError as error:
            # They were dropped at its end, which is not written yet; or they are lost, and its task will tell.
            log.debug("secrets.not_there", job=job.id, error=str(error))
        except OSError as error:
            if is_shortage(error):
                raise
            # What can't be read of one (EIO) can't be told by us either; the others must not wait for it.
            log.warning("secrets.unreadable", job=job.id, error=str(error))


async def _stand(shell: Shell, parts: ApiParts, sites: Sites, reload: Reload) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    loop.add_signal_handler(signal.SIGHUP, reload.ask)
    async with asyncio.TaskGroup() as group:
        shell.start(group)
        stand(group, parts.deploys.describing.watch(), "chutes")
        stand(group, parts.schedules.timetable.watch(), "schedules")
        stand(group, parts.cords.hosts.watch(), "cords")
        stand(group, parts.cords.replays.tidy_up(), "answers of cords")
        stand(group, reload.watch(), "reload")
        stand(group, _watchdog(), "watchdog")
        spawn(group, leave_when(leave, sites), "leave")
        # What is here now stays: full collections need not walk it, and stop the loop for 25 ms (bench/listing.py).
        gc.collect()
        gc.freeze()
        systemd.notify_ready(os.environ)


async def leave_when(asked: asyncio.Event, sites: Sites) -> None:
    """However it ends, nobody is let in any more before the jobs' tasks end: who would run what came in?"""
    try:
        await asked.wait()
        systemd.notify_stopping(os.environ)
    finally:
        await sites.close()
    raise LeaveError


async def _watchdog() -> None:
    """A sign of life for the service manager, from the loop itself: a loop that is stuck gives none."""
    seconds = systemd.read_watchdog_seconds(os.environ, os.getpid())
    pause = seconds / 2 if seconds else WATCHDOG_SECONDS
    while True:
        try:
            systemd.notify_watchdog(os.environ)
        except systemd.ServiceManagerSilentError as error:
            log.warning("watchdog.not_told", error=str(error))
        await asyncio.sleep(pause)
