"""core/outcome — the outcome of an attempt: the first rule that holds. Whether there is another attempt is core/retry's."""

from agent.core.exits import died_after_signal
from agent.core.job import ExitFacts, Job, Outcome, Reason, StopCause, Verdict
from agent.core.reasons import reason

_BY_STOP = {StopCause.TIMEOUT: Outcome.TIMED_OUT, StopCause.GPU_LOST: Outcome.LOST}


def decide_outcome(job: Job) -> tuple[Outcome, Reason | None]:
    """Own exit 0 before our signal; job_stop; a death not its own; attempt_stop; else failed (exit code, start, image)."""
    facts = job.run.exit or ExitFacts(Verdict.NONE)
    if facts.verdict is Verdict.OWN and facts.code == 0 and not died_after_signal(facts.finished_at, job.run):
        return Outcome.SUCCEEDED, None
    if job.job_stop is not None:
        return Outcome.CANCELLED, reason(job.job_stop.cause.value, job.job_stop.message or None)
    if facts.verdict is Verdict.LOST:
        return Outcome.LOST, reason(facts.lost_code or "container_gone")
    if job.attempt_stop is not None and _counts(job, facts):
        outcome = _BY_STOP.get(job.attempt_stop.cause, Outcome.FAILED)
        return outcome, reason(job.attempt_stop.cause.value, job.attempt_stop.message or None)
    return Outcome.FAILED, _failure(job, facts)


def _counts(job: Job, facts: ExitFacts) -> bool:
    """A timeout counts only where the end came at or after the deadline; an exit that came first is the job's own."""
    if (
        job.attempt_stop is None
        or job.attempt_stop.cause is not StopCause.TIMEOUT
        or facts.verdict is Verdict.NONE
    ):
        return True
    if died_after_signal(facts.finished_at, job.run):
        return True
    if facts.started_at is None or facts.finished_at is None or job.spec.timeout is None:
        return True
    return facts.finished_at - facts.started_at >= job.spec.timeout


def _failure(job: Job, facts: ExitFacts) -> Reason:
    if job.run.failure is not None:
        return reason(job.run.failure.code, job.run.failure.message)
    if facts.oom:
        return reason("out_of_memory")
    if job.run.gpu_fault is not None:
        return job.run.gpu_fault
    if facts.signal is not None:
        return reason(
            "killed_by_signal", f"the program was ended by signal {facts.signal} (exit code {facts.code})"
        )
    if facts.code is not None:
        return reason("exit_nonzero", f"the program exited with code {facts.code}")
    return reason("internal_error", "the attempt ended without a container, a failure or a stop request")
