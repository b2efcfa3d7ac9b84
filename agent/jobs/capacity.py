"""jobs/capacity — what this host has and how much of it is taken, as GET /host shows it. Leases nothing."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.core.container import EngineFacts
from agent.core.gpus import Gpu
from agent.core.job import Job
from agent.core.policy import Limits
from agent.core.ports import PortRange, held_ports
from agent.core.state import ACTIVE
from agent.errors import Phase
from agent.interfaces import Engine, EngineUnavailableError, Folders, Gpus, Store
from agent.jobs.avoided import Avoided

DEFAULT_QUEUE = "default"


@dataclass(frozen=True, slots=True)
class HostNames:
    """What the config says, as of now."""

    agent_id: str
    version: str
    ports: PortRange
    limits: Limits
    queue_limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class QueueUse:
    concurrency: int
    queued: int
    active: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """`engine` None: it does not answer just now. Counts are over all principals; whose a lease is stands nowhere.

    `queues` are the config's own: a name that a principal chose is counted under "default".
    """

    names: HostNames
    engine: EngineFacts | None
    gpus: tuple[tuple[Gpu, bool], ...]
    ports_held: int
    ports_bad: int
    queues: Mapping[str, QueueUse]
    phases: Mapping[Phase, int]
    free_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class HostCapacity:
    """Reads the host's capacity. `names` is asked at each look: the config may have been read again."""

    names: Callable[[], HostNames]
    store: Store
    engine: Engine
    gpus: Gpus
    folders: Folders
    bad_ports: Avoided[int]

    async def look(self) -> Capacity:
        """Raises StoreUnavailableError. An engine that is down is a fact, not an error."""
        jobs = await self.store.unfinished()
        taken = {uuid for job in jobs if job.lease is not None for uuid in job.lease.gpus}
        names = self.names()
        return Capacity(
            names=names,
            engine=await self._engine_facts(),
            gpus=tuple((gpu, gpu.uuid in taken) for gpu in (await self.gpus.inventory()).gpus),
            ports_held=len(held_ports(jobs)),
            ports_bad=len(self.bad_ports.now()),
            queues=_use_of_queues(jobs, names.queue_limits),
            phases=Counter(job.phase for job in jobs),
            free_bytes=await self.folders.free_bytes(),
        )

    async def _engine_facts(self) -> EngineFacts | None:
        try:
            return await self.engine.facts()
        except EngineUnavailableError:
            return None


def _use_of_queues(jobs: Sequence[Job], limits: Mapping[str, int]) -> dict[str, QueueUse]:
    def queue_of(job: Job) -> str:
        return job.spec.queue if job.spec.queue in limits else DEFAULT_QUEUE

    queued = Counter(queue_of(job) for job in jobs if job.phase is Phase.QUEUED)
    active = Counter(queue_of(job) for job in jobs if job.phase in ACTIVE)
    return {name: QueueUse(limits[name], queued[name], active[name]) for name in sorted(limits)}
