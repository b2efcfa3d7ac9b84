"""jobs/assembly — wires the jobs shell from adapters that somebody else picked: the daemon, or a test with fakes. Starts nothing."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent.aio import Flag, stand
from agent.core.bridge import Bridge
from agent.core.container import ContainerEvent, EventKind
from agent.core.firewall import RuleSet
from agent.core.policy import NetworkRefusal
from agent.core.ports import PortRange
from agent.core.queue import Host
from agent.interfaces import (
    Clock,
    Deliveries,
    Engine,
    Firewall,
    Folders,
    Gpus,
    HostKeys,
    KernelLog,
    Outgoing,
    OutputLimits,
    OutputWatch,
    Quotas,
    SshKits,
    Store,
)
from agent.interfaces.job_socket import JobSockets
from agent.jobs.avoided import Avoided
from agent.jobs.cords import CordTimes
from agent.jobs.current import Current
from agent.jobs.disk_guard import DiskGuard
from agent.jobs.functions import Functions
from agent.jobs.gpu_accounts import GpuAccounts
from agent.jobs.gpu_care import CareSettings, GpuCare, Wakes
from agent.jobs.gpu_samples import GpuSamples
from agent.jobs.hiding import Hiding
from agent.jobs.images import Images, PullTimes
from agent.jobs.janitor import Janitor
from agent.jobs.network_care import BridgeCalls, NetworkCare
from agent.jobs.notifier import Notifier
from agent.jobs.quota_care import QuotaCare
from agent.jobs.ssh import SshServers
from agent.jobs.supervisor import Supervisor
from agent.jobs.tools import Tools
from agent.jobs.uploads import Uploads
from agent.jobs.uploads.budget import Budget
from agent.jobs.uploads.names import Names
from agent.jobs.uploads.tools import UploadTools
from agent.jobs.witness import Witness
from agent.log import Redactor

# A stranger's port is left alone for an hour; a GPU that failed the gate is looked at again in a minute.
BAD_PORT_SECONDS, BAD_GPU_SECONDS = 3600.0, 60.0


@dataclass(slots=True)
class Settings:
    """What an operator sets for the shell; the daemon replaces `queue_limits`, `ageing`, `output_limits` and `cord_times` when the config is read
    again.
    """

    ports: PortRange
    queue_limits: Mapping[str, int]
    ageing: float
    pull_times: PullTimes
    retention_seconds: float
    gpu_care: CareSettings
    output_limits: OutputLimits
    parallel_uploads: int
    network_rules: RuleSet
    cord_times: CordTimes = field(default_factory=lambda: CordTimes(idle_seconds=300, call_seconds=300))


@dataclass(frozen=True, slots=True)
class Outside:
    """The adapters."""

    store: Store
    engine: Engine
    firewall: Firewall
    folders: Folders
    watch: OutputWatch
    quotas: Quotas
    gpus: Gpus
    kernel_log: KernelLog
    clock: Clock
    random: Callable[[], float]
    redactor: Redactor
    outgoing: Outgoing
    deliveries: Deliveries
    ssh_kits: SshKits
    host_keys: HostKeys
    job_sockets: JobSockets


@dataclass(frozen=True, slots=True)
class Shell:
    """The standing parts. `wake(job)` is for who accepted a job or left a stop request: its task looks, and asks for the grant
    once its image is there. To ask here too would only make two writers of one fresh row.
    """

    supervisor: Supervisor
    janitor: Janitor
    quota_care: QuotaCare
    witness: Witness
    notifier: Notifier
    tools: Tools
    gpu_samples: GpuSamples
    disk_guard: DiskGuard

    def wake(self, job_id: str) -> None:
        self.supervisor.poke(job_id)

    def start(self, group: asyncio.TaskGroup) -> None:
        self.tools.images.use(group)
        self.tools.uploads.use(group)
        self.tools.ssh.use(group)
        self.tools.functions.use(group)
        stand(group, self.witness.watch(), "witness")
        stand(group, self.tools.network.watch(), "network care")
        stand(group, self.supervisor.supervise(), "supervisor")
        stand(group, self.janitor.clean(), "janitor")
        stand(group, self.quota_care.clean(), "quota care")
        stand(group, self.disk_guard.watch(), "disk guard")
        stand(group, self.tools.gpu_care.watch(), "gpu care")
        stand(group, self.tools.gpu_accounts.watch(), "gpu accounts")
        stand(group, self.notifier.notify(), "notifier")
        stand(group, self.tools.uploads.resume(), "uploads")
        stand(group, self.tools.functions.keep(), "functions")


def assemble(outside: Outside, current: Current, settings: Settings) -> Shell:
    """Build the shell. The circle of who wakes whom is closed here, by functions."""
    ask = Flag()
    janitor = Janitor(
        outside.engine, outside.store, outside.folders, outside.clock, settings.retention_seconds
    )
    quota_care = QuotaCare(outside.engine, outside.store, outside.quotas)

    def on_event(event: ContainerEvent) -> None:
        _heed(event, supervisor, janitor)

    def look_at_all() -> None:
        supervisor.poke_all()
        janitor.look()
        quota_care.look()

    def poke(job_id: str) -> None:
        supervisor.poke(job_id)

    def judge(_job_id: str) -> None:
        janitor.look()
        quota_care.look()

    gpu_care = GpuCare(outside.gpus, outside.store, outside.clock, settings.gpu_care, Wakes(ask.set, poke))
    gpu_care.listen_to(outside.kernel_log)
    gpu_samples = GpuSamples(outside.gpus, outside.clock)
    witness = Witness(outside.engine, outside.store, outside.clock, on_event, look_at_all)
    images = Images(outside.engine, settings.pull_times, poke)
    hiding = Hiding(outside.redactor)
    tools = Tools(
        store=outside.store,
        engine=outside.engine,
        folders=outside.folders,
        quotas=outside.quotas,
        gpu_care=gpu_care,
        gpu_accounts=GpuAccounts(gpu_samples, outside.store, outside.clock),
        clock=outside.clock,
        images=images,
        witness=witness,
        network=_network(outside, current, settings, ask.set),
        uploads=_uploads(outside, settings, hiding, poke),
        ssh=SshServers(outside.engine, outside.store, outside.folders, outside.clock),
        functions=Functions(outside.store, outside.folders, outside.job_sockets),
        ssh_kits=outside.ssh_kits,
        bad_ports=Avoided(outside.clock, BAD_PORT_SECONDS),
        bad_gpus=Avoided(outside.clock, BAD_GPU_SECONDS),
        current=current,
        hiding=hiding,
        random=outside.random,
        ask_grant=ask.set,
        judge=judge,
    )
    supervisor = Supervisor(tools, lambda: _host(tools, settings), ask)
    notifier = Notifier(outside.outgoing, outside.store, outside.folders, outside.clock, outside.random)
    disk_guard = DiskGuard(outside.engine, outside.folders, outside.store, outside.clock, poke)
    return Shell(supervisor, janitor, quota_care, witness, notifier, tools, gpu_samples, disk_guard)


def _network(
    outside: Outside, current: Current, settings: Settings, ask_grant: Callable[[], None]
) -> NetworkCare:
    async def find_bridge() -> Bridge | None:
        return await outside.engine.find_bridge(current.policy.bridge)

    async def ensure_bridge() -> None:
        await outside.engine.ensure_bridge(current.policy.bridge, current.policy.subnet6)

    def heed(refusal: NetworkRefusal | None) -> None:
        if refusal != current.policy.network_refusal:
            current.policy = replace(current.policy, network_refusal=refusal)
        ask_grant()

    bridge = BridgeCalls(find_bridge, ensure_bridge)
    return NetworkCare(outside.firewall, outside.store, settings.network_rules, bridge, heed)


def _uploads(outside: Outside, settings: Settings, hiding: Hiding, poke: Callable[[str], None]) -> Uploads:
    tools = UploadTools(
        store=outside.store,
        folders=outside.folders,
        watch=outside.watch,
        deliveries=outside.deliveries,
        clock=outside.clock,
        random=outside.random,
        hiding=hiding,
        budget=Budget(settings.parallel_uploads),
        names=Names(),
        limits=lambda: settings.output_limits,
    )
    return Uploads(tools, poke)


def _heed(event: ContainerEvent, supervisor: Supervisor, janitor: Janitor) -> None:
    match event.kind:
        case EventKind.DIE:  # of what a job's task does itself, the answer tells it
            supervisor.poke_known(event.job)
        case EventKind.CREATE | EventKind.START:
            janitor.suspect(event)
        case EventKind.DESTROY:
            janitor.acquit(event.container)


def _host(tools: Tools, settings: Settings) -> Host:
    """As it is now, for one grant."""
    return Host(
        ports=settings.ports,
        bad_ports=tools.bad_ports.now(),
        queue_limits=settings.queue_limits,
        ageing=settings.ageing,
        inventory=tools.gpu_care.inventory,
        bad_gpus=tools.bad_gpus.now() | tools.gpu_care.unleasable(),
        stuck_gpus=tools.gpu_care.stuck(),
        free_disk_bytes=tools.quotas.free_bytes,
        network_closed=None if tools.network.closed is None else tools.network.closed.message,
    )
