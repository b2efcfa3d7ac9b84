"""daemon/outside — the adapters beside the state's, opened in their order, and what is found of the host; the stack closes them in reverse."""

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import structlog

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.folders import DiskFolders
from agent.adapters.jobsocket import UnixJobSockets
from agent.adapters.kernel_log import KernelLogFile
from agent.adapters.linux import (
    SystemClock,
    most_open_files,
    read_cpus,
    read_dns_servers,
    read_ipv6,
    read_memory_bytes,
    read_node_cpus,
)
from agent.adapters.outgoing import OutgoingClient
from agent.adapters.sqlite import SqliteStore
from agent.adapters.ssh import DropbearKeys, KitFolder
from agent.adapters.uploads import UploadDeliveries
from agent.aio import Threads
from agent.config import Config
from agent.core.policy import Policy
from agent.core.ssh_kit import KitTrouble, SshKit
from agent.daemon.gpus import open_gpus, open_kernel_log
from agent.daemon.network import open_firewall
from agent.daemon.program import program_version
from agent.daemon.sdk import SDK, lay_out_sdk
from agent.daemon.values import kit_folder_of, policy_of, subnet6_for
from agent.jobs.assembly import Outside
from agent.jobs.current import Current
from agent.log import Redactor

log = structlog.get_logger()

SOCKET_THREADS = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """`current` is what some of them ask at each of their acts. `kernel_log` is read from its `open` on, by who listens then."""

    outside: Outside
    current: Current
    kernel_log: KernelLogFile


async def open_outside(
    config: Config, folders: DiskFolders, store: SqliteStore, redactor: Redactor, stack: AsyncExitStack
) -> Opened:
    gpus = await open_gpus(config, folders.agent_id, store, stack)
    engine = await DockerEngine.open(config.engine.socket, folders.agent_id)
    stack.push_async_callback(engine.close)
    kernel_log = open_kernel_log(config, stack)
    current = Current(await _find_policy(config, folders, store))
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
    return Opened(outside, current, kernel_log)


async def _find_policy(config: Config, folders: DiskFolders, store: SqliteStore) -> Policy:
    """What the config says, and what only this host can."""
    host = read_dns_servers(), most_open_files(), read_node_cpus()
    return replace(
        policy_of(config, folders.agent_id, *host),
        most_disk_bytes=await folders.quotas.total_bytes(),
        host_cpus=read_cpus(),
        host_memory_bytes=read_memory_bytes(),
        subnet6=subnet6_for(config, folders.agent_id, read_ipv6()),
        sdk=await lay_out_sdk(folders, store, SDK),
    )


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
