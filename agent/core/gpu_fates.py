"""core/gpu_fates — what becomes of a job whose GPU fails under it: nothing, blame if it fails too, a stop, or loss. Pure."""

from dataclasses import replace

from agent.core.gpu_findings import Fate
from agent.core.job import Job, NewEvent, Now, Reason, StopCause
from agent.core.state import ACTIVE
from agent.core.stop_requests import request_attempt_stop


def meet_fate(job: Job, fate: Fate, why: Reason, now: Now) -> tuple[Job, list[NewEvent]]:
    """The row with what was asked of it, and what that tells. Who has ended already is not stopped, but may have failed by it."""
    if job.phase not in ACTIVE or fate is Fate.NOTHING:
        return job, []
    if job.run.exit is not None or fate is Fate.BLAME:
        # The first is kept: what comes after it is often its doing.
        return (job if job.run.gpu_fault else replace(job, run=replace(job.run, gpu_fault=why))), []
    match fate:
        case Fate.STOP:
            kill_at = now.after(job.spec.grace)
            return request_attempt_stop(job, StopCause.GPU_FAULT, now.wall, kill_at, why.message)
        case Fate.LOST:
            # Whoever waits for a GPU that is gone can't heed a signal.
            return request_attempt_stop(job, StopCause.GPU_LOST, now.wall, now.after(0.0), why.message)
