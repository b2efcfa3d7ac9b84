"""daemon/doctor — the host looked over from outside the daemon: engine, state folder, ports, clock, disk, GPUs. Changes nothing."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.folders import why_impossible
from agent.adapters.kernel_log import why_unreadable
from agent.adapters.linux import SystemClock, has_nvidia_gpus, read_dns_servers, read_fs_type
from agent.adapters.sqlite import is_older
from agent.adapters.ssh import KitFolder
from agent.aio import Threads
from agent.api.tls import TlsUnusableError
from agent.config import Config
from agent.core.policy import InjectionWish
from agent.core.ssh_kit import KitTrouble, SshKit
from agent.daemon.network import firewall_probe
from agent.daemon.ports import engine_port_checks, port_checks
from agent.daemon.quotas import quota_leftovers_probe
from agent.daemon.values import DATABASE, kit_folder_of, listen_of
from agent.jobs import gpu_probes, probes
from agent.jobs.health import Check, CheckState, Finding, Health, Probe
from agent.jobs.quota_probe import quota_probe
from agent.jobs.ssh_kit_probe import ssh_kit_probe

IN_MEMORY = {"tmpfs", "ramfs"}
_TIMESYNC = Path("/run/systemd/timesync/synchronized")


async def examine(config: Config) -> list[Check]:
    """All checks at once. The daemon may run meanwhile."""
    clock = SystemClock()
    engine = await DockerEngine.open(config.engine.socket, "doctor")
    checks: dict[str, Probe] = {
        "engine": probes.engine_probe(engine),
        "live_restore": probes.live_restore_probe(engine),
        "state_folder": _state_probe(config),
        "runtime_folder": runtime_probe(config.runtime_dir, read_fs_type),
        "database": database_probe(config),
        "disk": probes.disk_probe(_free_bytes(config.state_dir)),
        **port_checks(config),
        **engine_port_checks(config, engine),
        "dns": _dns_probe(config),
        "network": firewall_probe(config),
        "tls": tls_probe(config),
        "clock": _clock_probe(),
        "gpu_injection": gpu_probes.gpu_injection_probe(
            engine, InjectionWish(config.gpus.injection), config.engine.runtime, has_nvidia_gpus
        ),
        "disk_quotas": quota_probe(_why_no_quotas, lambda: 0),
        "quota_leftovers": quota_leftovers_probe(config),
        "ssh_kit": ssh_kit_probe(lambda: _find_kit(config)),
        "kernel_log": gpu_probes.kernel_log_probe(
            lambda: why_unreadable(config.gpus.kernel_log), has_nvidia_gpus
        ),
    }
    try:
        return list(await Health(clock, checks, frozenset()).look())
    finally:
        await engine.close()


def tls_probe(config: Config) -> Probe:
    async def probe() -> Finding:
        try:
            tls = listen_of(config).tls
        except TlsUnusableError as error:
            return Finding(CheckState.FAIL, str(error), error.remedy)
        return Finding(CheckState.OK, "none is asked for" if tls is None else "its files fit each other")

    return probe


async def _why_no_quotas() -> str | None:
    threads = Threads("doctor", 1)
    try:
        return await threads.run(why_impossible)
    finally:
        threads.close()


async def _find_kit(config: Config) -> SshKit | KitTrouble:
    kits = KitFolder(kit_folder_of(config))
    try:
        return await kits.look()
    finally:
        kits.close()


def _state_probe(config: Config) -> Probe:
    async def probe() -> Finding:
        path = config.state_dir
        if not path.is_dir():
            return Finding(CheckState.WARN, f"{path} is not there yet", "It is made at the first start.")
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return Finding(
                CheckState.FAIL,
                f"{path} belongs to uid {status.st_uid}, mode {status.st_mode & 0o7777:o}",
                f"chown it to the agent's user, and chmod 0700 {path}.",
            )
        return Finding(CheckState.OK, f"{path}, mode 0700")

    return probe


def runtime_probe(path: Path, fs_type_of: Callable[[Path], str | None]) -> Probe:
    async def probe() -> Finding:
        kind = fs_type_of(path)
        if kind in IN_MEMORY:
            return Finding(CheckState.OK, f"{path}, in memory ({kind})")
        return Finding(
            CheckState.WARN,
            f"{path} is on {kind or 'an unknown file system'}: the secrets of running jobs reach a disk",
            "Let runtime_dir be on a tmpfs, as /run is on most hosts.",
        )

    return probe


def database_probe(config: Config) -> Probe:
    async def probe() -> Finding:
        path = config.state_dir / DATABASE
        if not path.exists():
            return Finding(CheckState.OK, "none yet; it is made at the first start")
        threads = Threads("doctor", 1)
        try:
            migrates = ", and of an older version: the next start migrates it"
            return Finding(
                CheckState.OK, f"{path} is sound{migrates if await threads.run(is_older, path) else ''}"
            )
        finally:
            threads.close()

    return probe


def _free_bytes(path: Path) -> Callable[[], Awaitable[int]]:
    nearest = path if path.exists() else path.parent

    async def free() -> int:
        status = os.statvfs(nearest)
        return status.f_bavail * status.f_frsize

    return free


def _dns_probe(config: Config) -> Probe:
    async def probe() -> Finding:
        servers = config.network.dns or read_dns_servers()
        if servers:
            return Finding(CheckState.OK, f"jobs ask {', '.join(servers)}")
        return Finding(
            CheckState.FAIL,
            "no DNS server that a container can reach: jobs with a network are refused",
            "Set dns under [network].",
        )

    return probe


def _clock_probe() -> Probe:
    is_kept = _TIMESYNC.exists()

    async def probe() -> Finding:
        if is_kept:
            return Finding(CheckState.OK, "kept in step by systemd-timesyncd")
        return Finding(
            CheckState.WARN,
            "nothing says that the clock is kept in step",
            "Run an NTP client (chrony, systemd-timesyncd); token expiry and not_before follow the wall clock.",
        )

    return probe
