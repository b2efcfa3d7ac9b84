"""api/metrics/reading — what one scrape reads: what others have seen already, and rows that the store counts. Asks no driver, walks no disk.

Nothing in it is of one principal: no job, owner, label or chute has a name here, since any token may ask.
"""

from collections.abc import Collection

import structlog

from agent.api.auth import Caller
from agent.api.metrics.counting import Counting
from agent.api.metrics.families import Family
from agent.api.metrics.of_gpus import GpusSeen, gpu_families, sample_families
from agent.api.metrics.of_host import agent_families, api_families, disk_families, health_family
from agent.api.metrics.of_jobs import job_families, port_family
from agent.api.metrics.of_work import (
    CordsSeen,
    NotificationsSeen,
    SchedulesSeen,
    UploadsSeen,
    cord_families,
    notification_families,
    schedule_families,
    upload_families,
)
from agent.api.metrics.sources import Sources
from agent.api.tokens import Scope
from agent.core.job_counts import JobCounts
from agent.interfaces import StoreUnavailableError
from agent.spec.limits import RESERVED_QUEUES

log = structlog.get_logger(__name__)

# GPUs in use are sampled each 5 s. What is older than some of these may be of a job that has ended, or of a driver that hangs.
SAMPLE_SECONDS = 30.0


async def read(sources: Sources, caller: Caller) -> list[Family]:
    """Within seconds, whatever hangs but the database's own thread: the checks of /health have deadlines of their own.

    Where the database is away its families are missing, for who needs none to be known: of others the token can't be read either.
    """
    names = sources.host.names()
    # The agent's own words, which no user may take for a queue.
    queues = {*names.queue_limits, *RESERVED_QUEUES}
    counts = await _count(sources.counting, queues)
    checks = await sources.health.look()
    gpus = sources.gpu_care.inventory.gpus
    leased = None if counts is None else counts.leased_gpus
    open_streams = {kind: streams.count for kind, streams in sources.streams.items()}
    families = [
        *agent_families(sources.version, sources.started_at),
        health_family(checks),
        *disk_families(sources.disk_guard.view().spaces),
        *gpu_families(GpusSeen(gpus, sources.gpu_care.healths, sources.gpu_care.unleasable(), leased)),
        *_work_families(sources),
        *api_families(sources.traffic, sources.auth.failures, open_streams),
    ]
    if counts is not None:
        avoided = len(sources.host.bad_ports.now())
        families += job_families(counts, queues)
        families.append(port_family(names.ports, counts.ports_held, avoided))
    if may_see_samples(caller):
        reading = sources.gpu_samples.last
        is_fresh = sources.clock.boot_seconds() - reading.at <= SAMPLE_SECONDS
        families += sample_families(gpus, reading.samples if is_fresh else {})
    return families


async def _count(counting: Counting, queues: Collection[str]) -> JobCounts | None:
    try:
        return await counting.take(queues)
    except StoreUnavailableError as error:
        # All else is told all the same: the check `store` above all.
        log.warning("metrics.incomplete", code=error.code, error=str(error))
        return None


def _work_families(sources: Sources) -> tuple[Family, ...]:
    jobs, files = sources.uploads.waiting
    hosts, tally = sources.cords.hosts, sources.cords.tally
    timetable = sources.timetable
    return (
        *upload_families(UploadsSeen(jobs, files, sources.uploads.tally)),
        *notification_families(NotificationsSeen(sources.notifier.waiting, *sources.notifier.failing)),
        *cord_families(CordsSeen(hosts.states, hosts.calls, tally.ends, tally.seconds)),
        *schedule_families(
            SchedulesSeen(timetable.count, timetable.overdue, timetable.seconds_behind(), timetable.tally)
        ),
    )


def may_see_samples(caller: Caller) -> bool:
    """As GET /gpus has it: what a GPU does is what its job does, and that is its principal's business, and an operator's."""
    return caller.viewer.sees_all or Scope.GPUS_ADMIN in caller.scopes
