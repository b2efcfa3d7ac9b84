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
    """Build the shell."""
    store, clock = outside.store, outside.clock
    janitor = Janitor(outside.engine, store, outside.folders, clock, settings.retention_seconds)
    circle = _Circle(janitor, QuotaCare(outside.engine, store, outside.quotas), Flag())
    gpu_samples = GpuSamples(outside.gpus, clock)
    tools = _tools(outside, current, settings, circle, gpu_samples)
    circle.supervisor = Supervisor(tools, lambda: _host(tools, settings), circle.grant)
    return Shell(
        supervisor=circle.supervisor,
        janitor=janitor,
        quota_care=circle.quota_care,
        witness=tools.witness,
        notifier=Notifier(outside.outgoing, store, outside.folders, clock, outside.random),
        tools=tools,
        gpu_samples=gpu_samples,
        disk_guard=DiskGuard(outside.engine, outside.folders, store, clock, circle.poke),
    )


@dataclass(slots=True, eq=False)
class _Circle:
    """Who wakes whom. It is closed by the supervisor, which is built of those that wake it."""

    janitor: Janitor
    quota_care: QuotaCare
    grant: Flag
    supervisor: Supervisor = field(init=False)

    def poke(self, job_id: str) -> None:
        self.supervisor.poke(job_id)

    def judge(self, _job_id: str) -> None:
        self.janitor.look()
        self.quota_care.look()

    def look_at_all(self) -> None:
        self.supervisor.poke_all()
        self.janitor.look()
        self.quota_care.look()

    def heed(self, event: ContainerEvent) -> None:
        match event.kind:
            case EventKind.DIE:  # of what a job's task does itself, the answer tells it
                self.supervisor.poke_known(event.job)
            case EventKind.CREATE | EventKind.START:
                self.janitor.suspect(event)
            case EventKind.DESTROY:
                self.janitor.acquit(event.container)


def _tools(
    outside: Outside, current: Current, settings: Settings, circle: _Circle, gpu_samples: GpuSamples
) -> Tools:
    store, engine, clock = outside.store, outside.engine, outside.clock
    wakes = Wakes(circle.grant.set, circle.poke)
    gpu_care = GpuCare(outside.gpus, store, clock, settings.gpu_care, wakes)
    gpu_care.listen_to(outside.kernel_log)
    hiding = Hiding(outside.redactor)
    return Tools(
        store=store,
        engine=engine,
        folders=outside.folders,
        quotas=outside.quotas,
        gpu_care=gpu_care,
        gpu_accounts=GpuAccounts(gpu_samples, store, clock),
        clock=clock,
        images=Images(engine, settings.pull_times, circle.poke),
        witness=Witness(engine, store, clock, circle.heed, circle.look_at_all),
        network=_network(outside, current, settings, circle.grant.set),
        uploads=_uploads(outside, settings, hiding, circle.poke),
        ssh=SshServers(engine, store, outside.folders, clock),
        functions=Functions(store, outside.folders, outside.job_sockets),
        ssh_kits=outside.ssh_kits,
        bad_ports=Avoided(clock, BAD_PORT_SECONDS),
        bad_gpus=Avoided(clock, BAD_GPU_SECONDS),
        current=current,
        hiding=hiding,
        random=outside.random,
        ask_grant=circle.grant.set,
        judge=circle.judge,
    )


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
