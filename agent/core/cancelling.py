"""core/cancelling — what a cancel makes of a job, alone or with all that it has started. Pure; signals nobody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.core.job import Job, NewEvent, Now, StopCause
from agent.core.stop_requests import request_job_stop
from agent.core.upload import may_stop_upload
from agent.errors import Phase

Changed = tuple[Job, Sequence[NewEvent]]

_ENDED = frozenset({Phase.UPLOADING, Phase.FINISHED})


@dataclass(frozen=True, slots=True)
class Cancel:
    """`grace`: seconds between the stop signal and the kill; None: each job's own."""

    at: Now
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class FamilyCancel:
    """`asked`: how many jobs stand asked to stop, the first of them and those that were asked before among them."""

    changes: tuple[Changed, ...]
    asked: int


def cancel_job(job: Job, cancel: Cancel, cause: StopCause = StopCause.CANCEL) -> Changed | None:
    """The next row. Of a job whose outputs leave, that ends, and the outcome stays. None: nothing of it is left to stop."""
    if may_stop_upload(job):
        return replace(job, upload_stopped_at=job.upload_stopped_at or cancel.at.wall), []
    if job.phase in _ENDED:
        return None
    seconds = job.spec.grace if cancel.grace is None else cancel.grace
    return request_job_stop(job, cause, cancel.at.wall, cancel.at.after(seconds))


def cancel_family(job: Job, below: Sequence[Job], cancel: Cancel) -> FamilyCancel:
    """The job and all unfinished ones below it are asked, and none of them starts another any more."""
    below_changes = [_cancel_for_good(other, cancel, StopCause.PARENT_CANCELLED) for other in below]
    asked_below = [changed for changed in below_changes if changed is not None]
    own = _cancel_for_good(job, cancel, StopCause.CANCEL)
    asked = len(asked_below) + (own is not None)
    row, told = own or (job, [])
    before = {other.id: other for other in below}
    fresh = sum(_is_newly_asked(before[after.id], after) for after, _ in asked_below)
    family = [NewEvent("job.children_stop_requested", {"jobs": fresh})] if fresh else []
    return FamilyCancel(((row, [*told, *family]), *asked_below), asked)


def _cancel_for_good(job: Job, cancel: Cancel, cause: StopCause) -> Changed | None:
    changed = cancel_job(job, cancel, cause)
    if changed is None or job.phase in _ENDED:
        return changed
    row, told = changed
    return replace(row, starts_no_more=True), told


def _is_newly_asked(before: Job, after: Job) -> bool:
    return (before.job_stop, before.upload_stopped_at) != (after.job_stop, after.upload_stopped_at)
