"""daemon/serve — the daemon from its start to its end: adapters opened, shell wired, API opened, all closed in reverse."""

import asyncio
import gc
import os
import random
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import structlog

from agent import log as logging
from agent.adapters import systemd
from agent.adapters.docker.engine import DockerEngine
from agent.adapters.folders import DiskFolders, open_folders
from agent.adapters.job_ports import LocalPorts
from agent.adapters.jobsocket import UnixJobSockets
from agent.adapters.linux import (
    SystemClock,
    most_open_files,
    read_dns_servers,
    read_ipv6,
    read_node_cpus,
    share_one_heap,
)
from agent.adapters.outgoing import OutgoingClient
from agent.adapters.sqlite import SqliteStore
from agent.adapters.ssh import DropbearKeys, KitFolder
from agent.adapters.uploads import UploadDeliveries
from agent.aio import Threads, spawn, stand
from agent.api.app import ApiParts, build_app
from agent.api.limits import ApiLimits
from agent.api.sites import Sites, open_sites
from agent.config import Config
from agent.core.ssh_kit import KitTrouble, SshKit
from agent.daemon.chutes import build_chutes
from agent.daemon.database import note_served, open_database
from agent.daemon.functions import function_calls
from agent.daemon.gpus import open_gpus, open_kernel_log
from agent.daemon.health import build_health
from agent.daemon.ids import new_exec_id, new_job_id
from agent.daemon.network import open_firewall
from agent.daemon.ports import port_checks
from agent.daemon.reload import Places, Reload
from agent.daemon.schedules import build_schedules
from agent.daemon.sdk import SDK, lay_out_sdk
from agent.daemon.values import (
    addresses_of,
    kit_folder_of,
    listen_of,
    output_limits_of,
    page_domain_of,
    policy_of,
    settings_of,
    subnet6_for,
)
from agent.interfaces import Folders, JobFolderMissingError, Store
from agent.jobs.assembly import Outside, Settings, Shell, assemble
from agent.jobs.attempt_log import Sources
from agent.jobs.bell import Bell
from agent.jobs.capacity import HostCapacity, HostNames
from agent.jobs.cords.probe import cords_probe
from agent.jobs.current import Current
from agent.jobs.execs import Execs
from agent.jobs.hiding import Hiding
from agent.jobs.intake import Intake
from agent.jobs.logs import Logs
from agent.jobs.outputs import Outputs
from agent.jobs.schedules_probe import schedules_probe
from agent.jobs.stats import Stats

log = structlog.get_logger()

FOLDER_THREADS = 8
SOCKET_THREADS = 2
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
        gpus = await open_gpus(config, folders.agent_id, store, stack)
        engine = await DockerEngine.open(config.engine.socket, folders.agent_id)
        stack.push_async_callback(engine.close)
        kernel_log = open_kernel_log(config, stack)
        host = read_dns_servers(), most_open_files(), read_node_cpus()
        policy = policy_of(config, folders.agent_id, *host)
        current = Current(
            replace(
                policy,
                most_disk_bytes=await folders.quotas.total_bytes(),
                subnet6=subnet6_for(config, folders.agent_id, read_ipv6()),
                sdk=await lay_out_sdk(folders, store, SDK),
            )
        )
        outgoing = OutgoingClient(lambda: current.policy.outgoing, f"gpu-agent/{program_version()}")
        stack.push_async_callback(outgoing.close)
        outside = Outside(
            store=store,
            engine=engine,
            firewall=open_firewall(stack),
            folders=folders,
            watch=folders,
            quotas=folders.quotas,
            gpus=gpus,
            kernel_log=kernel_log,
            clock=SystemClock(),
            random=random.random,
            redactor=redactor,
            outgoing=outgoing,
            deliveries=UploadDeliveries(outgoing),
            ssh_kits=await _open_kits(config, stack),
            host_keys=_open_host_keys(config, stack),
            job_sockets=_open_job_sockets(folders, stack),
        )
        settings = settings_of(config, policy.dns)
        shell = assemble(outside, current, settings)
        await hide_secrets(store, folders, shell.tools.hiding)
        # Before any GPU is looked at or started on: what it did while nobody listened counts for the first look.
        await kernel_log.open()
        parts = _api_parts(config, outside, settings, shell, folders)
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


def _open_host_keys(config: Config, stack: AsyncExitStack) -> DropbearKeys:
    keys = DropbearKeys(config.runtime_dir)
    stack.callback(keys.close)
    return keys


def _open_job_sockets(folders: DiskFolders, stack: AsyncExitStack) -> UnixJobSockets:
    threads = Threads("job sockets", SOCKET_THREADS)
    stack.callback(threads.close)
    sockets = UnixJobSockets(folders.socket_folder, threads)
    stack.push_async_callback(sockets.close_all)
    return sockets


async def _open_kits(config: Config, stack: AsyncExitStack) -> KitFolder:
    """Without a kit all but SSH works: whoever reads the log learns what is missing, and so does who asks for SSH."""
    kits = KitFolder(kit_folder_of(config))
    stack.callback(kits.close)
    match await kits.look():
        case SshKit() as kit:
            log.info("ssh_kit.found", path=kit.path, version=kit.version)
        case KitTrouble() as trouble:
            log.warning("ssh_kit.unusable", error=trouble.message, remedy=trouble.remedy)
    return kits


async def hide_secrets(store: Store, folders: Folders, hiding: Hiding) -> None:
    """Of the jobs that an earlier daemon accepted and that are not over."""
    for job in await store.unfinished():
        try:
            hiding.add(job.id, await folders.secrets(job.id))
        except JobFolderMissingError as error:
            # They were dropped at its end, which is not written yet; or they are lost, and its task will tell.
            log.debug("secrets.not_there", job=job.id, error=str(error))


def _intake(outside: Outside, shell: Shell) -> Intake:
    return Intake(
        outside.store,
        outside.folders,
        shell.tools.gpu_care.usable,
        outside.clock,
        shell.tools.current,
        shell.tools.hiding,
        new_job_id(outside.clock),
        shell.wake,
        outside.ssh_kits,
        outside.host_keys,
    )


def _api_parts(
    config: Config, outside: Outside, settings: Settings, shell: Shell, folders: DiskFolders
) -> ApiParts:
    tools = shell.tools
    chutes, cords = build_chutes(folders, _intake(outside, shell), lambda: settings.cord_times)
    schedules = build_schedules(folders, chutes)

    def names() -> HostNames:
        policy = tools.policy
        return HostNames(
            policy.agent_id, program_version(), settings.ports, policy.limits, settings.queue_limits
        )

    bell = Bell()
    outside.store.on_events(bell.ring)
    checks = {
        **port_checks(config),
        "schedules": schedules_probe(schedules.timetable),
        "cords": cords_probe(cords),
    }
    addresses = addresses_of(config)

    return ApiParts(
        store=outside.store,
        folders=outside.folders,
        intake=chutes.intake,
        chutes=chutes,
        schedules=schedules,
        cords=cords,
        logs=Logs(Sources(outside.engine, outside.folders, outside.store, outside.clock, bell)),
        outputs=Outputs(outside.folders, output_limits_of(config)),
        uploads=tools.uploads,
        ssh=tools.ssh,
        gpu_care=tools.gpu_care,
        gpu_samples=shell.gpu_samples,
        stats=Stats(outside.engine, shell.gpu_samples, tools.gpu_accounts, outside.clock),
        execs=Execs(outside.engine, outside.store, outside.clock, new_exec_id),
        host=HostCapacity(
            names, outside.store, outside.engine, outside.gpus, outside.folders, tools.bad_ports
        ),
        health=build_health(outside, shell, checks),
        clock=outside.clock,
        bell=bell,
        addresses=addresses,
        pull=tools.images.pull,
        version=program_version(),
        limits=ApiLimits(stream_seconds=config.api.stream_timeout),
        job_ports=LocalPorts(addresses.host),
        page_domain=page_domain_of(config),
        page_key=folders.page_key.read,
    )


def program_version() -> str:
    try:
        return version("gpu-agent")
    except PackageNotFoundError:  # run from a checkout
        return "0"


async def _stand(shell: Shell, parts: ApiParts, sites: Sites, reload: Reload) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    loop.add_signal_handler(signal.SIGHUP, reload.ask)
    async with asyncio.TaskGroup() as group:
        shell.start(group)
        stand(group, parts.chutes.describing.watch(), "chutes")
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
