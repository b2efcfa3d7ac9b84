"""api/metrics/reading — what one scrape reads: what others have seen already, and rows that the store counts. Asks no driver, walks no disk.

Nothing in it is of one principal: no job, owner, label or chute has a name here, since any token may ask.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from agent.api.auth import Auth, Caller
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
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.api.traffic import Traffic
from agent.core.job_counts import JobCounts
from agent.interfaces import Clock, StoreUnavailableError
from agent.jobs.capacity import HostCapacity
from agent.jobs.cords import Cords
from agent.jobs.disk_guard import DiskGuard
from agent.jobs.gpu_care import GpuCare
from agent.jobs.gpu_samples import GpuSamples
from agent.jobs.health import Health
from agent.jobs.notifier import Notifier
from agent.jobs.schedules import Timetable
from agent.jobs.uploads import Uploads
from agent.spec.limits import RESERVED_QUEUES

log = structlog.get_logger(__name__)

# GPUs in use are sampled each 5 s. What is older than some of these may be of a job that has ended, or of a driver that hangs.
SAMPLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """Whom it asks. `started_at`: UTC seconds. `streams` by their kind."""

    version: str
    started_at: float
    clock: Clock
    counting: Counting
    host: HostCapacity
    health: Health
    disk_guard: DiskGuard
    gpu_care: GpuCare
    gpu_samples: GpuSamples
    uploads: Uploads
    notifier: Notifier
    cords: Cords
    timetable: Timetable
    auth: Auth
    traffic: Traffic
    streams: Mapping[str, Streams]

    async def read(self, caller: Caller) -> list[Family]:
        """Within seconds, whatever hangs: the checks of /health have deadlines of their own. Where the database is away its families are missing."""
        names = self.host.names()
        # The agent's own words, which no user may take for a queue.
        queues = {*names.queue_limits, *RESERVED_QUEUES}
        counts = await self._counts(queues)
        checks = await self.health.look()
        gpus = self.gpu_care.inventory.gpus
        leased = None if counts is None else counts.leased_gpus
        open_streams = {kind: streams.count for kind, streams in self.streams.items()}
        families = [
            *agent_families(self.version, self.started_at),
            health_family(checks),
            *disk_families(self.disk_guard.view().spaces),
            *gpu_families(GpusSeen(gpus, self.gpu_care.healths, self.gpu_care.unleasable(), leased)),
            *self._work(),
            *api_families(self.traffic, self.auth.failures, open_streams),
        ]
        if counts is not None:
            avoided = len(self.host.bad_ports.now())
            families += job_families(counts, queues)
            families.append(port_family(names.ports, counts.ports_held, avoided))
        if may_see_samples(caller):
            reading = self.gpu_samples.last
            is_fresh = self.clock.boot_seconds() - reading.at <= SAMPLE_SECONDS
            families += sample_families(gpus, reading.samples if is_fresh else {})
        return families

    async def _counts(self, queues: Collection[str]) -> JobCounts | None:
        try:
            return await self.counting.take(queues)
        except StoreUnavailableError as error:
            # All else is told all the same: the check `store` above all.
            log.warning("metrics.incomplete", code=error.code, error=str(error))
            return None

    def _work(self) -> tuple[Family, ...]:
        jobs, files = self.uploads.waiting
        hosts, tally = self.cords.hosts, self.cords.tally
        timetable = self.timetable
        return (
            *upload_families(UploadsSeen(jobs, files, self.uploads.tally)),
            *notification_families(NotificationsSeen(self.notifier.waiting, *self.notifier.failing)),
            *cord_families(CordsSeen(hosts.states, hosts.calls, tally.ends, tally.seconds)),
            *schedule_families(
                SchedulesSeen(timetable.count, timetable.overdue, timetable.seconds_behind(), timetable.tally)
            ),
        )


def may_see_samples(caller: Caller) -> bool:
    """As GET /gpus has it: what a GPU does is what its job does, and that is its principal's business, and an operator's."""
    return caller.viewer.sees_all or Scope.GPUS_ADMIN in caller.scopes
