"""core/stop_requests — the two durable stop requests: how one enters the row. Who signals whom is the runner's."""

from dataclasses import replace

from agent.core.job import BootTime, Job, NewEvent, Stop, StopCause
from agent.errors import Phase

# An end was already decided in these; a job_stop changes nothing of the outcome any more.
_DECIDED = frozenset({Phase.UPLOADING, Phase.FINISHED})


def request_job_stop(
    job: Job, cause: StopCause, asked_at: float, kill_at: BootTime, message: str = ""
) -> tuple[Job, list[NewEvent]]:
    """Ask for the end of the job. The first wins and is never cleared; a later one may only bring `kill_at` forward."""
    if job.phase in _DECIDED:
        return job, []
    kept = replace(job, kill_at=sooner(job.kill_at, kill_at))
    if job.job_stop is not None:
        return kept, []
    asked = replace(kept, job_stop=Stop(cause, asked_at, message))
    return asked, [NewEvent("job.stop_requested", {"cause": cause, "attempt": job.attempt})]


def request_attempt_stop(
    job: Job, cause: StopCause, asked_at: float, kill_at: BootTime, message: str = ""
) -> tuple[Job, list[NewEvent]]:
    """Ask for the end of this attempt. The first wins within its attempt."""
    if job.phase in _DECIDED:
        return job, []
    kept = replace(job, kill_at=sooner(job.kill_at, kill_at))
    if job.attempt_stop is not None:
        return kept, []
    asked = replace(kept, attempt_stop=Stop(cause, asked_at, message))
    return asked, [NewEvent("job.stop_requested", {"cause": cause, "attempt": job.attempt})]


def sooner(held: BootTime | None, wanted: BootTime) -> BootTime:
    """The earlier of two moments. One of an earlier boot has passed with that boot, so the new one counts."""
    if held is None or held.boot_id != wanted.boot_id:
        return wanted
    return held if held.seconds <= wanted.seconds else wanted
