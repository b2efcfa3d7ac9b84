"""jobs/cords/host_jobs — the jobs that answer cords, as rows: found, accepted, asked to stop. Which are wanted is `hosts`' to say."""

import asyncio
from collections.abc import Callable

import structlog

from agent.core.chute import Version
from agent.core.function import FunctionCall
from agent.core.job import EVERYONE, BootTime, Job, Kind, NewEvent, StopCause
from agent.core.stop_requests import request_job_stop
from agent.interfaces import ChuteFolders, Clock
from agent.jobs.bell import Bell, wait_for_ring
from agent.jobs.cords.errors import CordHostNotReadyError
from agent.jobs.cords.host import Host
from agent.jobs.intake import Intake, Submission
from agent.spec import compose_cords, load_deploy

log = structlog.get_logger(__name__)

# Beyond the grace, until a job that was stopped is finished.
STOPPED_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 1.0
SURPLUS = "another job answers the same cords"


class HostJobs:
    """`leaving`: jobs that no call goes to any more and whose stop request is not written yet, each with why."""

    def __init__(self, intake: Intake, folders: ChuteFolders) -> None:
        self._intake = intake
        self._store = intake.store
        self._folders = folders
        self.leaving: dict[str, str] = {}

    def may_answer(self, job: Job) -> bool:
        return job.job_stop is None and job.outcome is None and job.id not in self.leaving

    async def unfinished(self) -> list[Job]:
        """Of all chutes. Raises StoreUnavailableError."""
        return [job for job in await self._store.unfinished() if job.kind is Kind.CORDS]

    async def find(self, host: Host) -> Job | None:
        """One that was accepted, though its answer was lost. Raises StoreUnavailableError."""
        found = await self._of_chute(host.owner, host.chute)
        of_version = (job for job in found if job.call is not None and job.call.version == host.version)
        return next(filter(self.may_answer, of_version), None)

    async def _of_chute(self, owner: str, chute: str) -> list[Job]:
        return [job for job in await self._store.unfinished_of(owner, chute) if job.kind is Kind.CORDS]

    async def version_of(self, host: Host) -> Version:
        """As it is now. Raises CordHostNotReadyError, StoreUnavailableError."""
        version = await self._store.version(host.version, EVERYONE)
        if version is None:
            raise CordHostNotReadyError(f"the chute {host.chute} has just been removed")
        return version

    async def accept(self, version: Version) -> Job:
        """A new one. Raises ChuteFilesMissingError, and as `Intake.accept` does."""
        body = compose_cords(load_deploy(await self._folders.deploy(version.id)))
        call = FunctionCall(str(version.chute), version.id, None, version.entry.file, version.entry.attribute)
        asked = Submission(body, Kind.CORDS, call, b"null")
        return (await self._intake.accept(version.owner, asked)).job

    def let_go(self, host: Host, why: str) -> None:
        """From here on a call of it starts another job; the request is written by `stop`."""
        job_id = host.leave(asyncio.get_running_loop().time())
        if job_id is not None:
            self.leaving[job_id] = why

    async def stop(self) -> None:
        """Write what is left of requests. Raises StoreUnavailableError."""
        for job_id, why in list(self.leaving.items()):
            decide = _stop(self._intake.clock, why)
            await self._store.change(job_id, EVERYONE, decide)
            self.leaving.pop(job_id, None)
            self._intake.wake(job_id)
            log.info("cords.host_stopped", job=job_id, why=why)

    async def wait_stopped(self, chute: Version, bell: Bell) -> None:
        """Until those of the chute that were asked to stop are finished, or it is of no use to wait. `bell`: rings at events of jobs.

        Raises StoreUnavailableError.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOPPED_SECONDS
        while True:
            ring = bell.listen()
            of_it = await self._of_chute(chute.owner, str(chute.chute))
            is_over = all(job.job_stop is None for job in of_it)
            if is_over or loop.time() >= deadline:
                return
            await wait_for_ring(ring, min(LOOK_AGAIN_SECONDS, deadline - loop.time()))


def _stop(clock: Clock, why: str) -> Callable[[Job], tuple[Job, list[NewEvent]]]:
    now, boot = clock.now(), clock.boot_seconds()

    def decide(job: Job) -> tuple[Job, list[NewEvent]]:
        kill_at = BootTime(clock.boot_id, boot + job.spec.grace)
        return request_job_stop(job, StopCause.NOT_NEEDED, now, kill_at, why)

    return decide
