"""core/outcome — the outcome of an attempt: the first rule that holds. Whether there is another attempt is core/retry's."""

from agent.core.exits import died_after_signal
from agent.core.function import FaultKind, Report, ReportStatus
from agent.core.job import ExitFacts, Job, Outcome, Reason, StopCause, Verdict
from agent.core.reasons import reason

# Of a call that let our stop through the stop says why it ended; without one its author ended it so.
_BY_FAULT = {
    FaultKind.RAISED: "function_raised",
    FaultKind.CANCELLED: "function_raised",
    FaultKind.PERMANENT: "function_refused",
    FaultKind.PAYLOAD: "payload_mismatch",
    FaultKind.IMPORT: "chute_import_failed",
    FaultKind.STARTUP: "startup_failed",
    FaultKind.EXIT: "exit_nonzero",
    FaultKind.RESULT_TOO_LARGE: "result_too_large",
}
_BY_STOP = {StopCause.TIMEOUT: Outcome.TIMED_OUT, StopCause.GPU_LOST: Outcome.LOST}


def decide_outcome(job: Job) -> tuple[Outcome, Reason | None]:
    """Own exit 0 before our signal; job_stop; a death not its own; attempt_stop; else failed (exit code, start, image)."""
    facts = job.run.exit or ExitFacts(Verdict.NONE)
    if _succeeded(job, facts):
        return Outcome.SUCCEEDED, None
    if job.job_stop is not None:
        return Outcome.CANCELLED, reason(job.job_stop.cause.value, job.job_stop.message or None)
    if facts.verdict is Verdict.LOST:
        return Outcome.LOST, reason(facts.lost_code or "container_gone")
    if job.attempt_stop is not None and _counts(job, facts):
        outcome = _BY_STOP.get(job.attempt_stop.cause, Outcome.FAILED)
        return outcome, reason(job.attempt_stop.cause.value, job.attempt_stop.message or None)
    return Outcome.FAILED, _failure(job, facts)


def _succeeded(job: Job, facts: ExitFacts) -> bool:
    """A function has to say so as well: a process that only ends may have ended anywhere in it."""
    if facts.verdict is not Verdict.OWN or facts.code != 0 or died_after_signal(facts.finished_at, job.run):
        return False
    report = job.run.report
    return job.call is None or (report is not None and report.status is ReportStatus.SUCCEEDED)


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
    if job.run.report is not None and job.run.report.status is ReportStatus.FAILED:
        return _reported(job.run.report)
    if facts.signal is not None:
        return reason(
            "killed_by_signal", f"the program was ended by signal {facts.signal} (exit code {facts.code})"
        )
    if facts.code == 0 and job.call is not None:
        return reason("no_result")
    if facts.code is not None:
        return reason("exit_nonzero", f"the program exited with code {facts.code}")
    return reason("internal_error", "the attempt ended without a container, a failure or a stop request")


def _reported(report: Report) -> Reason:
    code = _BY_FAULT[report.kind or FaultKind.RAISED]
    words = ": ".join(part for part in (report.type, report.message) if part)
    return reason(code, words or None)
