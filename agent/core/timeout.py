"""core/timeout — how long an attempt may run: when its time ends, what is left of it, the stop that enforces it. Pure.

All on the boot clock, from outside the container. After the request the one ladder of `core/next_step` ends the container, and
`core/outcome` says whether the end was the timeout's doing.
"""

from agent.core.job import BootTime, Job, NewEvent, Now, StartIntent, StopCause
from agent.core.stop_requests import request_attempt_stop


def deadline(job: Job, intent: StartIntent, started_at: float, now: Now) -> BootTime | None:
    """When the attempt's time ends. `started_at`: the engine's wall stamp. None: it may run for ever."""
    if job.spec.timeout is None:
        return None
    return now.after(job.spec.timeout - _ran_seconds(started_at, intent, now))


def _ran_seconds(started_at: float, intent: StartIntent, now: Now) -> float:
    """By the engine's stamp; but the wall clock may have been stepped since, and it can't have run for longer than it was meant to."""
    return min(max(0.0, now.wall - started_at), max(0.0, now.boot.seconds - intent.at))


def seconds_left(job: Job, now: Now) -> float | None:
    """0 once its time is over; None: it has no end."""
    return None if job.run.deadline is None else now.until(job.run.deadline)


def request_timeout(job: Job, now: Now) -> tuple[Job, list[NewEvent]]:
    """The stop of an attempt whose time is over, with the job's own grace."""
    return request_attempt_stop(job, StopCause.TIMEOUT, now.wall, now.after(job.spec.grace))
