"""cli/show/functions — what a function has told of its job, for people. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from agent.cli.show.meters import meter
from agent.cli.show.words import clean, fit, one_line, size_text

Json = Mapping[str, Any]

# Of each kind; --json has all of them.
SHOWN = 8
RESULT_CHARACTERS = 400


def function_name(job: Json) -> str | None:
    """CHUTE/JOB, as it is started by. None: it calls no function."""
    call = job.get("chute")
    if call is None:
        return None
    what = "its cords" if job.get("kind") == "cords" else "described"
    return f"{call['name']}/{call['function']}" if call["function"] else f"{call['name']} ({what})"


def percent_text(job: Json) -> str | None:
    """How far it says that it is, while it runs."""
    percent = (job.get("progress") or {}).get("percent")
    return None if percent is None or job.get("outcome") else f"{percent:.0f}%"


def function_facts(job: Json, bar: int = 0) -> Iterator[tuple[str, str | Text]]:
    """Nothing where the job calls no function, or none of it is known. `bar`: how wide bars are; 0: there are none."""
    name = function_name(job)
    if name is None:
        return
    yield "function", f"{one_line(name)}, version {one_line(job['chute']['version'])}"
    if job.get("parent"):
        yield "parent", one_line(job["parent"])
    if job.get("children"):
        yield "children", _some([one_line(child) for child in job["children"]])
    if progress := job.get("progress"):
        yield "progress", progress_text(progress, bar)
    if statuses := job.get("statuses"):
        yield (
            "statuses",
            _some([f"{one_line(task)}: {one_line(status)}" for task, status in statuses.items()]),
        )
    if metrics := job.get("metrics"):
        yield (
            "metrics",
            _some([f"{one_line(each)}: {metric_text(metric)}" for each, metric in metrics.items()]),
        )
    yield from _result_facts(job)


def progress_text(progress: Json, bar: int = 0) -> Text:
    """`62%  epoch 30`; either may be unknown."""
    percent, text = progress["percent"], Text()
    if percent is not None:
        text = meter(percent / 100, bar).append(" ") if bar else text
        text.append(f"{percent:.0f}%  ")
    text.append(one_line(progress["message"] or ""))
    text.rstrip()
    return text


def metric_text(metric: Json) -> str:
    """`12 points, last 0.97, 0.3 to 0.98` of numbers, `well 3, badly 1` of texts; of a metric with both, both."""
    told = []
    if metric["count"]:
        told.append(
            f"{metric['count']} points, last {metric['last']:g}, {metric['min']:g} to {metric['max']:g}"
        )
    told += [f"{one_line(label)} {count}" for label, count in (metric["labels"] or {}).items()]
    if metric["other_labels"]:
        told.append(f"others {metric['other_labels']}")
    return ", ".join(told)


def error_text(error: Json) -> Text:
    """What was raised: with its traceback, where that is told."""
    whole = error.get("traceback") or ": ".join(filter(None, (error["type"], error["message"])))
    return Text(clean(str(whole)).rstrip(), style="dim")


def _result_facts(job: Json) -> Iterator[tuple[str, str | Text]]:
    size = job.get("result_bytes")
    if size is None:
        return
    if job["result"] is None and size > len("null"):
        yield "result", f"{size_text(size)}: GET /v1/jobs/{job['id']}/result"
    else:
        yield "result", fit(json.dumps(job["result"], ensure_ascii=False), RESULT_CHARACTERS)
    if job.get("result_note"):
        yield "note", one_line(job["result_note"])


def _some(lines: list[str]) -> str:
    left = len(lines) - SHOWN
    return "\n".join([*lines[:SHOWN], *([f"and {left} more"] if left > 0 else [])])
