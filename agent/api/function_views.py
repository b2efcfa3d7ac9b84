"""api/function_views — what is told of a job because it calls a function; of any other it is null. Reads no store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.finish import Fault
from agent.core.job import Job
from agent.core.metrics import Metric
from agent.core.told import Progress, Told
from agent.interfaces import StoredReport

Json = dict[str, object]
NOTHING: Json = dict.fromkeys(
    ("progress", "statuses", "result", "result_bytes", "result_note", "error", "metrics", "parent", "chute")
)


@dataclass(frozen=True, slots=True)
class FunctionBeside:
    """What is told of it and is not in its row. `told`, `report` None: a list is shown, in which they could have megabytes a job."""

    progress: Progress | None = None
    told: Told | None = None
    children: Sequence[str] = ()
    report: StoredReport | None = None


def show_function(job: Job, beside: FunctionBeside | None) -> Json:
    call = job.call
    if call is None:
        return {**NOTHING, "children": []}
    beside = beside or FunctionBeside()
    report, told = beside.report, beside.told
    has_result = report is not None and report.finish.fault is None
    return {
        "progress": _show_progress(beside.progress),
        "statuses": None if told is None else dict(told.statuses),
        "result": None,  # it is put in as the text that the job sent, where a job is written
        "result_bytes": report.size_bytes if report is not None and has_result else None,
        "result_note": None if report is None else report.finish.note,
        "error": _show_error(job, None if report is None else report.finish.fault),
        "metrics": None
        if told is None
        else {name: _show_metric(metric) for name, metric in told.metrics.items()},
        "parent": call.parent,
        "children": list(beside.children),
        "chute": {"name": call.chute, "version": call.version, "function": call.function},
    }


def _show_progress(progress: Progress | None) -> Json | None:
    return None if progress is None else {"percent": progress.percent, "message": progress.message}


def _show_metric(metric: Metric) -> Json:
    labels: Mapping[str, int] | None = metric.labels or None
    return {
        "count": metric.count,
        "sum": metric.total if metric.count else None,
        "min": metric.low,
        "max": metric.high,
        "last": metric.last,
        "points": [],  # likewise
        "labels": None if labels is None else dict(labels),
        "other_labels": metric.other,
    }


def _show_error(job: Job, fault: Fault | None) -> Json | None:
    """Of the latest attempt; in a list without the traceback."""
    if fault is not None:
        return {
            "type": fault.type,
            "message": fault.message,
            "traceback": fault.traceback,
            "status_code": fault.status_code,
            "detail": fault.detail,
        }
    known = job.run.report
    if known is None or known.kind is None:
        return None
    unread: Json = dict.fromkeys(("traceback", "status_code", "detail"))
    return {"type": known.type, "message": known.message, **unread}
