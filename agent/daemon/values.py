"""daemon/values — the config as the values that each room needs. Pure."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path

from agent.api.proxy.pages import PageDomain
from agent.api.sites import Listen
from agent.api.tls import make_tls
from agent.api.views import Addresses
from agent.config import Config
from agent.core.bridge import HostIpv6, subnet6_of, why_no_ipv6
from agent.core.container import LogBounds
from agent.core.firewall import Egress, NetworkSettings, RuleSet, make_rules
from agent.core.gpu_health import HealthPolicy
from agent.core.outgoing import read_rules
from agent.core.policy import NOFILE, ImageRules, InjectionWish, Limits, Policy
from agent.core.ports import NatMap, PortRange
from agent.core.xids import XidTable
from agent.interfaces import OutputLimits
from agent.jobs.assembly import Settings
from agent.jobs.cords import CordTimes
from agent.jobs.gpu_care import CareSettings
from agent.jobs.images import PullTimes

DATABASE = "agent.db"
SSH_KITS = "ssh-kit"
# Caps of a listing where the operator set none: a hostile job may write a million files.
MOST_OUTPUT_FILES, MOST_OUTPUT_BYTES, LISTING_SECONDS = 50_000, 1 << 50, 60.0


def policy_of(
    config: Config,
    agent_id: str,
    dns: tuple[str, ...],
    most_open_files: int,
    node_cpus: Mapping[int, str],
) -> Policy:
    """`dns`: the host's own servers, for where the config names none. `most_open_files`: more than that no job can have.
    `node_cpus`: the CPUs of each NUMA node.
    """
    limits = config.limits
    return Policy(
        agent_id=agent_id,
        bridge=config.network.bridge,
        dns=config.network.dns or dns,
        bind=config.ports.bind,
        logs=LogBounds(config.engine.log_size, config.engine.log_files),
        limits=Limits(
            cpus=limits.cpus,
            memory_bytes=limits.memory,
            shm_bytes=limits.shm,
            pids=limits.pids,
            disk_bytes=limits.disk,
            # More than the whole range would wait for ever, and hold up who waits behind it.
            job_ports=min(limits.job_ports, len(config.ports.range)),
            queued_jobs=limits.queued_jobs,
            children=config.jobs.max_children,
            depth=config.jobs.max_depth,
        ),
        images=ImageRules(config.images.allow, config.images.deny, config.images.max_size),
        runtime=config.engine.runtime,
        nofile=min(NOFILE, most_open_files),
        injection=InjectionWish(config.gpus.injection),
        node_cpus=node_cpus if config.gpus.pin_numa else {},
        outgoing=read_rules(config.uploads.allow_http, config.uploads.allow_hosts),
    )


def rules_of(config: Config, dns: tuple[str, ...]) -> RuleSet:
    """`dns`: the servers that jobs are given."""
    network = config.network
    return make_rules(
        NetworkSettings(
            network.bridge,
            Egress(network.egress),
            tuple(map(ip_network, network.egress_allow)),
            tuple(map(ip_network, network.deny)),
            tuple(map(ip_address, dns)),
        )
    )


def subnet6_for(config: Config, agent_id: str, host: HostIpv6) -> str | None:
    """What the bridge is made with, where the host can have it."""
    return None if why_no_ipv6(host) is not None else subnet6_of(agent_id, config.network.bridge)


def kit_folder_of(config: Config) -> Path:
    return config.ssh.kit or config.state_dir / SSH_KITS


def settings_of(config: Config, dns: tuple[str, ...]) -> Settings:
    return Settings(
        ports=PortRange(config.ports.range.first, config.ports.range.last),
        queue_limits=queue_limits_of(config),
        ageing=config.jobs.ageing,
        pull_times=PullTimes(config.engine.pull_timeout, config.engine.stall_timeout),
        retention_seconds=config.outputs.retention,
        gpu_care=care_of(config),
        output_limits=output_limits_of(config),
        parallel_uploads=config.uploads.parallel,
        network_rules=rules_of(config, dns),
        cord_times=cord_times_of(config),
    )


def care_of(config: Config) -> CareSettings:
    gpus = config.gpus
    policy = HealthPolicy(gpus.probation, XidTable(gpus.xid))
    return CareSettings(policy, gpus.use, gpus.clean_timeout)


def cord_times_of(config: Config) -> CordTimes:
    return CordTimes(config.chutes.cord_idle, config.chutes.cord_timeout)


def queue_limits_of(config: Config) -> dict[str, int]:
    return {name: queue.concurrency for name, queue in config.queues.items()}


def addresses_of(config: Config) -> Addresses:
    spans = tuple(
        (inside.first, inside.last, outside.first) for inside, outside in config.ports.external_ports.items()
    )
    return Addresses(config.ports.bind, NatMap(config.ports.external_host, spans))


def page_domain_of(config: Config) -> PageDomain | None:
    """None: jobs' pages have no host names."""
    proxy, api = config.proxy, config.api
    if not proxy.domain:
        return None
    scheme = proxy.external_scheme or ("http" if api.tls_cert is None else "https")
    return PageDomain(proxy.domain, scheme, proxy.external_port or api.listen.port)


def output_limits_of(config: Config) -> OutputLimits:
    return OutputLimits(
        files=config.outputs.max_files or MOST_OUTPUT_FILES,
        total_bytes=config.outputs.max_bytes or MOST_OUTPUT_BYTES,
        seconds=LISTING_SECONDS,
    )


def listen_of(config: Config) -> Listen:
    """Raises TlsUnusableError."""
    api = config.api
    tls = make_tls(api.tls_cert, api.tls_key, api.client_ca) if api.tls_cert and api.tls_key else None
    return Listen(api.listen.host, api.listen.port, tls, api.socket)
