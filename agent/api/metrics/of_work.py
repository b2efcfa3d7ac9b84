"""api/metrics/of_work — families of what goes on beside the jobs' containers: uploads, notifications, cords, schedules. Pure; names nobody's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.api.metrics.families import Family, Labels, counter, counters, gauge, gauges, with_zeros
from agent.jobs.cords import HostState
from agent.jobs.cords.tally import ANSWERED
from agent.jobs.schedules.firing import Tally as Fired
from agent.jobs.uploads.tally import SentTally


@dataclass(frozen=True, slots=True)
class UploadsSeen:
    jobs: int
    files_waiting: int
    sent: SentTally


@dataclass(frozen=True, slots=True)
class NotificationsSeen:
    jobs_waiting: int
    jobs_failing: int
    endpoints_failing: int


@dataclass(frozen=True, slots=True)
class CordsSeen:
    """`ends` and `seconds` are of calls since the daemon's start."""

    hosts: Mapping[HostState, int] = field(default_factory=dict)
    calls: int = 0
    ends: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SchedulesSeen:
    enabled: int
    overdue: int
    seconds_behind: float
    fired: Fired


def upload_families(seen: UploadsSeen) -> tuple[Family, ...]:
    sent = seen.sent
    return (
        gauge("uploads_active", "Ended jobs whose outputs are leaving.", seen.jobs),
        gauge("upload_files_waiting", "Files of ended jobs that are to leave and have not.", seen.files_waiting),
        counter("upload_files_sent_total", "Output files that arrived where they were to go, since the agent started.", sent.files),
        counter("upload_sent_bytes_total", "Bytes of output files that arrived, since the agent started.", sent.bytes),
        counter("upload_files_failed_total", "Output files that were given up, since the agent started.", sent.failed),
        counter("upload_tries_failed_total", "Tries that an endpoint or a file failed, most of which are made again.", sent.troubles),
    )  # fmt: skip


def notification_families(seen: NotificationsSeen) -> tuple[Family, ...]:
    return (
        gauge("notification_jobs_waiting", "Jobs with an event that their endpoint was not told yet.", seen.jobs_waiting),
        gauge("notification_jobs_failing", "Those of them whose last try failed.", seen.jobs_failing),
        gauge("notification_endpoints_failing", "Endpoints that these jobs tell.", seen.endpoints_failing),
    )  # fmt: skip


def cord_families(seen: CordsSeen) -> tuple[Family, ...]:
    hosts: dict[Labels, float] = {(state.value,): n for state, n in seen.hosts.items()}
    ends: dict[Labels, float] = {(end,): n for end, n in seen.ends.items()}
    every = [(state.value,) for state in HostState]
    return (
        gauges("cord_hosts", "Versions of chutes that are called or were lately, by what answers for them.", ("state",), with_zeros(hosts, every)),
        gauge("cord_calls_active", "Calls of cords under way, those that wait for a job among them.", seen.calls),
        counters("cord_calls_total", "Calls of cords that are over, by how they ended, since the agent started.", ("end",), with_zeros(ends, [(ANSWERED,)])),
        counter("cord_call_duration_seconds_total", "How long these calls took, all together.", seen.seconds),
    )  # fmt: skip


def schedule_families(seen: SchedulesSeen) -> tuple[Family, ...]:
    fired = seen.fired
    results = {"fired": fired.fired, "skipped": fired.skipped, "missed": fired.missed, "failed": fired.failed}
    return (
        gauge("schedules_enabled", "Schedules that are waited for: all but the paused ones.", seen.enabled),
        gauge("schedules_overdue", "Schedules that are due and were not dealt with yet.", seen.overdue),
        gauge("schedules_behind_seconds", "For how long the first of these has been due.", seen.seconds_behind),
        counters("schedule_minutes_total", "Due minutes of schedules, by what became of them, since the agent started.", ("result",), {(name,): n for name, n in results.items()}),
    )  # fmt: skip
