"""jobs/stats — what one running job uses at this moment: its container, its GPUs, its sums so far. Streams nothing, keeps nothing.

However many look at a job, its engine and its GPUs are asked once a second; while nobody looks, never.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from agent.core.container_stats import ContainerStats, StatsReading, cpu_percent
from agent.core.gpu_usage import GpuSample, GpuUsage
from agent.core.job import Job
from agent.errors import AgentError, Blame, Phase
from agent.interfaces import Clock, Engine, EngineUnavailableError
from agent.jobs.gpu_accounts import GpuAccounts
from agent.jobs.gpu_samples import FRESH_SECONDS, GpuSamples

log = structlog.get_logger()

# Who looks each second is served by what is remembered; older readings are of who has left, and tell no rate.
REMEMBERED_SECONDS = 5.0


class JobNotRunningError(AgentError):
    """Only a container that runs uses anything, and only in one that runs can anything be run."""

    code, blame = "job_not_running", Blame.USER
    remedy = (
        "Wait until the job's phase is running; what became of it is in GET /v1/jobs/{id} once it has ended."
    )

    def __init__(self, job: Job) -> None:
        is_waiting = job.phase is Phase.QUEUED and job.waiting_for
        waits = f", waiting for {job.waiting_for}" if is_waiting else ""
        super().__init__(f"the job is {job.phase.value}{waits}")


@dataclass(frozen=True, slots=True)
class JobStats:
    """`at` is UTC seconds. `container` None: it has just ended, or the engine does not answer. `usage` None: no GPUs, or too soon."""

    at: float
    container: ContainerStats | None
    cpu_percent: float | None
    gpus: Mapping[str, GpuSample | None]
    gpu_seconds: float | None
    usage: GpuUsage | None


@dataclass(slots=True)
class _Watched:
    """One container that somebody looks at."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked_at: float = float("-inf")
    before: StatsReading | None = None
    now: StatsReading | None = None


class Stats:
    def __init__(self, engine: Engine, samples: GpuSamples, accounts: GpuAccounts, clock: Clock) -> None:
        self._engine = engine
        self._samples = samples
        self._accounts = accounts
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    async def look(self, job: Job) -> JobStats:
        """At most a second old. Raises JobNotRunningError, EngineRefusedError, StoreUnavailableError."""
        if job.phase is not Phase.RUNNING or job.container is None:
            raise JobNotRunningError(job)
        watched = await self._container(job.container)
        gpus = job.lease.gpus if job.lease is not None else ()
        usage, samples = None, {}
        if gpus:
            reading = await self._samples.take(gpus)
            usage = await self._accounts.usage(job, reading)
            samples = {uuid: reading.samples.get(uuid) for uuid in gpus}
        now = self._clock.now()
        return JobStats(
            at=now,
            container=None if watched.now is None else watched.now.stats,
            cpu_percent=None if watched.now is None else cpu_percent(watched.before, watched.now),
            gpus=samples,
            gpu_seconds=len(gpus) * max(0.0, now - (job.run.started_at or now)) if gpus else None,
            usage=usage,
        )

    async def _container(self, container: str) -> _Watched:
        self._forget_old()
        watched = self._watched.setdefault(container, _Watched())
        async with watched.turn:
            if _time() - watched.asked_at >= FRESH_SECONDS:
                watched.asked_at = _time()
                stats = await self._ask(container)
                watched.before, watched.now = watched.now, StatsReading(_time(), stats)
        return watched

    async def _ask(self, container: str) -> ContainerStats | None:
        try:
            return await self._engine.stats(container)
        except EngineUnavailableError as error:
            # The job goes on without its engine, and so does who looks at it.
            log.debug("engine.no_answer", error=str(error))
            return None

    def _forget_old(self) -> None:
        since = _time() - REMEMBERED_SECONDS
        self._watched = {
            container: watched
            for container, watched in self._watched.items()
            if watched.asked_at >= since or watched.turn.locked()
        }


def _time() -> float:
    return asyncio.get_running_loop().time()
