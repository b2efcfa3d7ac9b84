"""core/retry — the close of an attempt: the next attempt, another lease, or the end. The one place where retry is decided."""

from dataclasses import dataclass, replace

from agent.core.backoff import full_jitter
from agent.core.job import (
    ClosedAttempt,
    FailureKind,
    Job,
    NewEvent,
    Outcome,
    Reason,
    Run,
    StopCause,
    Verdict,
)
from agent.core.outcome import decide_outcome
from agent.core.state import move
from agent.errors import Phase

MOST_PORT_MOVES = 3
MOST_GPU_MOVES = 1
# Of what an engine says no to for reasons of its own, much is over a moment later: it was busy, or a call of ours was cut off before.
MOST_START_MOVES, START_PAUSE_SECONDS = 1, 2.0
MOST_BACKOFF_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Closing:
    """What one transaction writes. `attempt` is None where only the lease is changed and the attempt goes on."""

    job: Job
    events: list[NewEvent]
    attempt: ClosedAttempt | None


def close(job: Job, now: float, jitter: float) -> Closing:
    """Decide what follows *stopping*. `now` is wall time, `jitter` in [0, 1)."""
    if _may_move(job):
        return _another_lease(job, now)
    outcome, why = decide_outcome(job)
    held = job.run.held or job.lease
    attempt = ClosedAttempt(
        job.attempt, outcome, why, job.run.exit, held, job.container, now, job.run.gpu_usage
    )
    if _may_retry(job, outcome, why):
        return _next_attempt(job, attempt, now, jitter)
    moved, events = move(
        job, Phase.UPLOADING, outcome=outcome, reason=why, lease=None, run=replace(job.run, plan=None)
    )
    return Closing(moved, events, attempt)


def _may_move(job: Job) -> bool:
    failure = job.run.failure
    if failure is None or job.stop_asked or (job.run.exit and job.run.exit.verdict is not Verdict.NONE):
        return False
    match failure.kind:
        case FailureKind.PORT:
            return job.port_moves < MOST_PORT_MOVES
        case FailureKind.GPU:
            return job.gpu_moves < MOST_GPU_MOVES
        case FailureKind.ENGINE:
            return failure.code == "engine_refused" and job.start_moves < MOST_START_MOVES
        case FailureKind.GATE:
            # It takes its GPU out of the choice, so it can't repeat without end.
            return True
        case FailureKind.VOLUME_MOVED:
            # The next create makes the volume anew: only a boot, or somebody on the host, brings it about once more.
            return True
        case _:
            return False


def _another_lease(job: Job, now: float) -> Closing:
    """The attempt goes on, in its old place in the queue."""
    kind = job.run.failure.kind if job.run.failure else None
    is_refused = kind is FailureKind.ENGINE
    moved, events = move(
        job,
        Phase.QUEUED,
        lease=None,
        run=Run(),
        kill_at=None,
        port_moves=job.port_moves + (kind is FailureKind.PORT),
        gpu_moves=job.gpu_moves + (kind is FailureKind.GPU),
        start_moves=job.start_moves + is_refused,
        not_before=now + START_PAUSE_SECONDS if is_refused else job.not_before,
    )
    return Closing(moved, events, None)


def _may_retry(job: Job, outcome: Outcome, why: Reason | None) -> bool:
    if job.job_stop is not None or why is None or not why.retryable:
        return False
    if job.attempt_stop is not None and job.attempt_stop.cause is StopCause.INTERNAL_ERROR:
        return False
    return outcome.value in job.spec.retry.on and job.attempt <= job.spec.retry.count


def _next_attempt(job: Job, attempt: ClosedAttempt, now: float, jitter: float) -> Closing:
    moved, events = move(
        job,
        Phase.QUEUED,
        attempt=job.attempt + 1,
        queued_at=now,
        not_before=now + backoff_seconds(job.spec.retry.backoff, job.attempt, jitter),
        lease=None,
        run=Run(),
        port_moves=0,
        gpu_moves=0,
        start_moves=0,
        attempt_stop=None,
        kill_at=None,
        image_digest=None,
        started_at=None,
    )
    return Closing(moved, events, attempt)


def backoff_seconds(first: float, attempt: int, jitter: float) -> float:
    """Full jitter: anything from 0 to the doubled backoff, which ends at 300 s."""
    return full_jitter(first, MOST_BACKOFF_SECONDS, attempt - 1, jitter)
