"""core/reconcile — whether a container of ours is wanted, and the row for one that lost its own. Does neither by itself."""

from dataclasses import replace

from agent.core.container import Container
from agent.core.job import Job, Run, StartIntent
from agent.core.lease import Lease, PortLease
from agent.core.state import ACTIVE
from agent.errors import Phase

_OPEN = ACTIVE | {Phase.QUEUED}


def is_wanted(container: Container, job: Job | None) -> bool:
    """Its row is in queued…stopping with that attempt: then it is the runner's alone, whatever state it is in.

    A wider rule would kill what a new lease has just started; a narrower one leaves a late create as an orphan.
    """
    return job is not None and is_of_open_attempt(container.attempt, job)


def is_of_open_attempt(attempt: int | None, job: Job) -> bool:
    return job.phase in _OPEN and attempt == job.attempt


def needs_volume(job: Job | None) -> bool:
    """Whether a container may yet write to the job's outputs. Readers of one that is over mount it for themselves."""
    return job is not None and job.spec.disk is not None and job.phase in _OPEN


def may_see_sdk(job: Job) -> bool:
    """Whether a container of the unfinished job may see a copy of the SDK that an earlier agent laid out: it was planned, so it may be
    there, or be on its way, and which copy it was given nobody wrote down.
    """
    return job.call is not None and job.run.plan is not None


def restore(fresh: Job, container: Container, boot_id: str) -> Job:
    """`fresh`, in *starting*, with what the container holds: the line then finds it as after any other restart."""
    published = {port.port: port.host_port for port in container.ports}
    ports = tuple(
        PortLease(port.name, port.port, port.proto, published[port.port])
        for port in fresh.spec.published
        if port.port in published
    )
    return replace(
        fresh,
        phase=Phase.STARTING,
        attempt=container.attempt or 1,
        lease=Lease(container.gpus, ports),
        run=Run(plan=container.plan, intent=StartIntent(container.id, boot_id)),
    )
