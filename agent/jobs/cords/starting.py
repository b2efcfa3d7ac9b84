"""jobs/cords/starting — a job for a version that is called: found or accepted, and looked at until it has connected. Stops only who makes way for it."""

import asyncio

import structlog

from agent.core.chute import VersionState
from agent.errors import AgentError, Phase
from agent.interfaces import Store
from agent.jobs.cords.called import Called
from agent.jobs.cords.errors import CordHostNotReadyError
from agent.jobs.cords.host import Host
from agent.jobs.cords.host_jobs import SURPLUS, HostJobs

log = structlog.get_logger(__name__)

# One that is not accepted so soon, on a disk or a driver that hangs, holds up no other chute's.
ACCEPT_SECONDS = 20.0
CROWDED = "another chute was called, and no more of them may be answered at once"


class Starting:
    """`turn` is held while one is found or accepted: who holds it knows that none is under way."""

    def __init__(self, store: Store, jobs: HostJobs, called: Called) -> None:
        self._store = store
        self._jobs = jobs
        self._called = called
        self._making_way: str | None = None  # the job that was stopped last for another
        self.turn = asyncio.Lock()

    async def start(self, host: Host) -> None:
        """Where somebody waits for it."""
        async with self.turn:
            if host.is_waited_for:
                await self._find_or_accept(host)

    async def look_at_job(self, host: Host, job_id: str) -> None:
        """At one without a connection: it may have ended, or not come to its turn. Raises StoreUnavailableError."""
        job = await self._store.read(job_id)
        if host.job_id != job_id:
            return
        now = asyncio.get_running_loop().time()
        if job is not None and job.outcome is None and job.job_stop is None:
            if job.waiting_for == "queue" and host.is_waited_for:
                await self._make_way(host.owner)
            return
        if job is not None and job.job_stop is not None:
            host.leave(now)  # somebody stopped it: whoever waits gets another
        else:
            host.note_end(None if job is None else job.reason, now)
            log.info("cords.host_ended", job=job_id, chute=host.chute, why=host.why)
        await self.start(host)

    async def _find_or_accept(self, host: Host) -> None:
        try:
            host.refuse_paused(asyncio.get_running_loop().time())
            async with asyncio.timeout(ACCEPT_SECONDS):
                version = await self._jobs.version_of(host)
                job = await self._jobs.find(host) or await self._jobs.accept(version)
        except TimeoutError:
            told = f"no job for {host.chute} could be accepted in {ACCEPT_SECONDS:g} s: the host is slow"
            host.refuse_all(CordHostNotReadyError(told))
            return
        except AgentError as error:
            host.refuse_all(error)
            return
        if version.state is not VersionState.ACTIVE:
            host.is_superseded = True  # a newer one was deployed after the call had found this one
        if host.job_id is None:
            host.begin(job.id)
        elif host.job_id != job.id:
            self._jobs.leaving[job.id] = SURPLUS  # one of an earlier daemon has connected meanwhile
        log.info("cords.host_started", job=job.id, chute=host.chute, owner=host.owner)

    async def _make_way(self, owner: str) -> None:
        """As many jobs answer as may, and one more is called: the one that nobody has called for longest ends early, of the caller's own first."""
        before = None if self._making_way is None else await self._store.read(self._making_way)
        if before is not None and before.phase is not Phase.FINISHED:
            return
        chosen = self._called.longest_idle(owner)
        if chosen is not None:
            self._making_way = chosen.job_id
            self._jobs.let_go(chosen, CROWDED)
            await self._jobs.stop()
