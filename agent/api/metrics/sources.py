"""api/metrics/sources — whom a scrape asks. A value, wired once; asks nobody."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.aio import Threads
from agent.api.auth import Auth
from agent.api.metrics.counting import Counting
from agent.api.streams import Streams
from agent.api.traffic import Traffic
from agent.interfaces import Clock
from agent.jobs.capacity import HostCapacity
from agent.jobs.cords import Cords
from agent.jobs.disk_guard import DiskGuard
from agent.jobs.gpu_care import GpuCare
from agent.jobs.gpu_samples import GpuSamples
from agent.jobs.health import Health
from agent.jobs.notifier import Notifier
from agent.jobs.schedules import Timetable
from agent.jobs.uploads import Uploads


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """`started_at`: UTC seconds. `streams` by their kind. `threads` write the text: a thousand lines would hold up the loop."""

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
    threads: Threads
