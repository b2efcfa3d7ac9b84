"""api/proxy/targets — which port of this host a request is for: the job's own lease, as its row says. Connects to nothing."""

from dataclasses import dataclass

from agent.core.job import Job, Viewer
from agent.core.lease import PortLease
from agent.errors import AgentError, Blame, Phase
from agent.interfaces import Store
from agent.jobs.intake import unknown_job
from agent.jobs.stats import JobNotRunningError
from agent.spec import Proto


class NoSuchPortError(AgentError):
    code, blame = "port_not_found", Blame.USER
    remedy = "GET /v1/jobs/{id} lists the job's ports by name."


class PortNotHttpError(AgentError):
    code, blame = "port_not_http", Blame.USER
    remedy = "Only ports of proto http are passed on; the job's `ports` say where the others are reached."


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a job that runs."""

    job: Job
    lease: PortLease


class Targets:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, job_id: str, port: str, viewer: Viewer) -> Target:
        """Raises ForeignIdError, NoSuchPortError, PortNotHttpError, JobNotRunningError."""
        job = await self.find_job(job_id, viewer)
        return Target(job, find_lease(job, port))

    async def find_job(self, job_id: str, viewer: Viewer) -> Job:
        """Raises ForeignIdError."""
        job = await self._store.get(job_id.lower(), viewer)
        if job is None:
            raise unknown_job(job_id)
        return job

    async def check_again(self, target: Target) -> None:
        """Whether the lease is still the job's, now that the connection is there. Raises JobNotRunningError.

        Between the look and the connection the job may have ended, and its port been given to another's. Who holds it before
        and after held it meanwhile.
        """
        job = await self._store.read(target.job.id)
        if job is None:
            raise unknown_job(target.job.id)
        is_same = (job.seq, job.attempt, job.run.intent) == (
            target.job.seq,
            target.job.attempt,
            target.job.run.intent,
        )
        if not is_same or find_lease(job, target.lease.name) != target.lease:
            raise JobNotRunningError(job)


def find_lease(job: Job, name: str) -> PortLease:
    wanted = [port for port in job.spec.ports if port.name == name]
    if not wanted:
        raise NoSuchPortError(f"the job has no port {name[:64]!a}")
    if wanted[0].proto is not Proto.HTTP:
        raise PortNotHttpError(f"the port {name} is {wanted[0].proto.value}, not http")
    leased = [] if job.lease is None else [lease for lease in job.lease.ports if lease.name == name]
    if job.phase is not Phase.RUNNING or not leased:
        raise JobNotRunningError(job)
    return leased[0]
