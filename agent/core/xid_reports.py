"""core/xid_reports — XIDs on their way to a verdict: which are news for their GPU, and which of those for the job that holds it. Pure.

They come from the driver, and from the kernel's log, which has those too that came while nobody listened. A record of the log
is judged once: its number is kept with the verdict. What the log tells of the time before an operator restored the GPU, or
before it was reset, is settled.
"""

from dataclasses import dataclass, replace

from agent.core.gpu_findings import Asked, ResetEnd, Sight
from agent.core.gpu_record import GpuHealth, newest
from agent.core.job import Job, Now

# An XID that comes by both ways comes by the second within this time. The child that hears the driver tells ten times a second.
SAME_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class XidReport:
    """`at`: seconds on CLOCK_BOOTTIME, the earliest that it can have come at. `record`: its number in the log, if it is from there."""

    xid: int
    at: float
    record: int | None = None


@dataclass(frozen=True, slots=True)
class Reports:
    """All since the last look at one GPU, one of a kind. `record`: the newest of the log that was read, told already or not."""

    xids: tuple[XidReport, ...] = ()
    record: int | None = None


@dataclass(frozen=True, slots=True)
class SortedXids:
    """`old`: from before the time of the job that holds the GPU, so they say something of the GPU alone."""

    fresh: tuple[int, ...]
    old: tuple[int, ...]


def merge(one: XidReport | None, other: XidReport) -> XidReport:
    """The same XID of the same GPU, twice: the later counts, for whose time it falls into."""
    if one is None:
        return other
    return XidReport(other.xid, max(one.at, other.at), newest(one.record, other.record))


def sort_xids(
    reports: Reports, health: GpuHealth, reset: ResetEnd | None, holder: Job | None, now: Now
) -> SortedXids:
    """Those that are news: none where the look is the one that follows a `reset` that was done. Without a holder none is old."""
    if reset is not None and reset.failure is None:
        return SortedXids((), ())  # the driver reports its own reset
    news = [report for report in reports.xids if _is_news(report, health, now)]
    old = [report.xid for report in news if holder is not None and not _is_of(holder, report.at, now)]
    return SortedXids(tuple(report.xid for report in news if report.xid not in old), tuple(old))


def settle(health: GpuHealth, sight: Sight, now: Now) -> GpuHealth:
    """How far the log is judged after a look, and since when it counts. `sight.request`: what was granted."""
    is_restored = sight.request is not None and sight.request.asked is Asked.RESTORE
    is_reset = sight.reset is not None and sight.reset.failure is None
    cleared_at = now.boot.seconds if is_restored or is_reset else health.cleared_at
    return replace(health, log_record=newest(health.log_record, sight.log_record), cleared_at=cleared_at)


def _is_news(report: XidReport, health: GpuHealth, now: Now) -> bool:
    if health.boot_id != now.boot.boot_id:
        return True
    if report.record is not None and health.log_record is not None and report.record <= health.log_record:
        return False
    return health.cleared_at is None or report.at >= health.cleared_at


def _is_of(job: Job, at: float, now: Now) -> bool:
    """Whether it came in the job's time, which begins with the start intent: before, nothing of it ran on the GPU.

    A row from before that moment was kept has the wall clock's start alone.
    """
    intent = job.run.intent
    if intent is None or intent.boot_id != now.boot.boot_id:
        return False
    if intent.at:
        return at >= intent.at
    started_at = job.run.started_at
    return started_at is not None and at >= now.boot.seconds - (now.wall - started_at)
