"""api/metrics/of_jobs — families of jobs and of what they hold. Pure: counts in, families out; names no job, and no queue but the config's."""

from collections.abc import Collection

from agent.api.metrics.families import Family, Labels, counter, counters, gauge, gauges, with_zeros
from agent.core.job import Outcome
from agent.core.job_counts import RETRIED, JobCounts
from agent.core.ports import PortRange
from agent.errors import Phase

# For all queues that the config does not name: their names are their principals' own words, and as many as these like.
OTHER = "other"
UNFINISHED = tuple(phase for phase in Phase if phase is not Phase.FINISHED)
# What core/queue says that a job waits for. Another word of its is told all the same, only not before the first job waits for it.
WAITS = ("not_before", "backoff", "queue", "image", "network", "disk", "turn", "gpus", "gpu_repair", "ports")
NOT_LOOKED_AT = "grant"
NO_REASON = "none"


def job_families(counts: JobCounts, queues: Collection[str]) -> tuple[Family, ...]:
    by_phase: dict[Labels, float] = {}
    for (phase, queue), jobs in counts.unfinished.items():
        labels = (phase.value, OTHER if queue is None else queue)
        by_phase[labels] = by_phase.get(labels, 0) + jobs
    every = [(phase.value, queue) for queue in (*sorted(queues), OTHER) for phase in UNFINISHED]
    waiting: dict[Labels, float] = {(waits or NOT_LOOKED_AT,): n for waits, n in counts.waiting.items()}
    ended: dict[Labels, float] = {
        (what, reason or NO_REASON): jobs for (what, reason), jobs in counts.totals.items() if what != RETRIED
    }
    return (
        gauges(
            "jobs",
            "Unfinished jobs, those that the agent runs for itself among them, by phase and by queue of the config.",
            ("phase", "queue"),
            with_zeros(by_phase, every),
        ),
        gauges(
            "jobs_waiting",
            "Queued jobs, by what they wait for.",
            ("waiting_for",),
            with_zeros(waiting, [(waits,) for waits in (*WAITS, NOT_LOOKED_AT)]),
        ),
        gauge("jobs_kept", "Finished jobs that retention has not removed.", counts.kept),
        counters(
            "jobs_finished_total",
            "Jobs that ended, since the database was made: it outlives restarts and retention.",
            ("outcome", "reason"),
            with_zeros(ended, [(Outcome.SUCCEEDED.value, NO_REASON)]),
        ),
        counter(
            "job_retries_total",
            "Attempts of jobs after their first, since the database was made.",
            counts.totals.get((RETRIED, ""), 0),
        ),
    )


def port_family(ports: PortRange, held: int, avoided: int) -> Family:
    free = max(0, len(ports) - held - avoided)
    return gauges(
        "ports",
        "Host ports of [ports] range: leased, avoided (something else was found there), or free.",
        ("state",),
        {("leased",): held, ("avoided",): avoided, ("free",): free},
    )
