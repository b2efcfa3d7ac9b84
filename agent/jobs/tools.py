"""jobs/tools — what a job's task works with, wired once by the daemon. A value: no behaviour."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.core.policy import Policy
from agent.interfaces import Clock, Engine, Folders, Quotas, SshKits, Store
from agent.jobs.avoided import Avoided
from agent.jobs.current import Current
from agent.jobs.functions import Functions
from agent.jobs.gpu_accounts import GpuAccounts
from agent.jobs.gpu_care import GpuCare
from agent.jobs.hiding import Hiding
from agent.jobs.images import Images
from agent.jobs.network_care import NetworkCare
from agent.jobs.ssh import SshServers
from agent.jobs.uploads import Uploads
from agent.jobs.witness import Witness


@dataclass(frozen=True, slots=True)
class Tools:
    """`random` gives [0, 1). `ask_grant` wakes the supervisor's grant, `judge` the janitor for one job's containers."""

    store: Store
    engine: Engine
    folders: Folders
    quotas: Quotas
    gpu_care: GpuCare
    gpu_accounts: GpuAccounts
    clock: Clock
    images: Images
    witness: Witness
    network: NetworkCare
    uploads: Uploads
    ssh: SshServers
    functions: Functions
    ssh_kits: SshKits
    bad_ports: Avoided[int]
    bad_gpus: Avoided[str]
    current: Current
    hiding: Hiding
    random: Callable[[], float]
    ask_grant: Callable[[], None]
    judge: Callable[[str], None]

    @property
    def policy(self) -> Policy:
        """As it is now: it may change between two looks."""
        return self.current.policy
