"""cli/show/functions — what a job tells because it calls a function, for people. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agent.cli.show.words import fit, one_line, size_text

Json = Mapping[str, Any]

RESULT_CHARACTERS = 400
METRICS_SHOWN = 12
STATUSES_SHOWN = 12


def function_name(job: Json) -> str | None:
    """`chute/function`; None: it calls none."""
    chute = job.get("chute")
    if chute is None:
        return None
    return f"{chute['name']}/{chute['function']}" if chute["function"] else "describe a chute"


def percent_text(job: Json) -> str | None:
    """How far it says that it is, while it runs."""
    percent = (job.get("progress") or {}).get("percent")
    return None if percent is None or job.get("outcome") else f"{percent:.0f}%"


def function_facts(job: Json) -> list[tuple[str, str | None]]:
    if job.get("chute") is None:
        return []
    return [
        ("function", one_line(function_name(job) or "")),
        ("version", one_line(job["chute"]["version"])),
        ("started by", job["parent"] and one_line(job["parent"])),
        ("children", f"{len(job['children'])} jobs" if job["children"] else None),
        ("progress", _progress_text(job.get("progress"))),
        ("statuses", _joined(_status_lines(job.get("statuses") or {}))),
        ("metrics", _joined(_metric_lines(job.get("metrics") or {}))),
        ("result", _result_text(job)),
        ("error", _error_text(job.get("error"))),
    ]


def _progress_text(progress: Json | None) -> str | None:
    if progress is None:
        return None
    percent = "" if progress["percent"] is None else f"{progress['percent']:g} %"
    return one_line(" ".join(part for part in (percent, progress["message"] or "") if part)) or None


def _status_lines(statuses: Mapping[str, str]) -> Iterator[str]:
    for task, status in list(statuses.items())[-STATUSES_SHOWN:]:
        yield f"{one_line(task)}: {one_line(status)}"


def _metric_lines(metrics: Mapping[str, Json]) -> Iterator[str]:
    for name, metric in list(metrics.items())[:METRICS_SHOWN]:
        if metric["count"]:
            span = f"{metric['min']:g} to {metric['max']:g}, {metric['count']} values"
            yield f"{one_line(name)} {metric['last']:g} ({span})"
        for label, count in (metric["labels"] or {}).items():
            yield f"{one_line(name)} {one_line(label)}: {count}"
    if len(metrics) > METRICS_SHOWN:
        yield f"and {len(metrics) - METRICS_SHOWN} more"


def _result_text(job: Json) -> str | None:
    size = job["result_bytes"]
    if size is None:
        return None
    if job["result"] is None and size > len("null"):
        return f"{size_text(size)}; fetch it: GET /v1/jobs/{job['id']}/result"
    note = f" ({one_line(job['result_note'])})" if job["result_note"] else ""
    return fit(one_line(json.dumps(job["result"], ensure_ascii=False)), RESULT_CHARACTERS) + note


def _error_text(error: Json | None) -> str | None:
    if error is None:
        return None
    trace = (error["traceback"] or "").rstrip()
    head = f"{one_line(error['type'] or 'error')}: {one_line(error['message'] or '')}"
    return "\n".join([head, *map(one_line, trace.splitlines()[-12:])]) if trace else head


def _joined(lines: Iterator[str]) -> str | None:
    return "\n".join(lines) or None
