"""cli/show/uploads — how far a job's outputs have left, and what keeps them, for people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from agent.cli.show.meters import meter
from agent.cli.show.tables import state_text
from agent.cli.show.words import clean, one_line, size_text, span_text

Json = Mapping[str, Any]

LEFT_BEHIND = frozenset({"partial", "failed"})
NOT_BEGUN = {
    "waiting": "waits for the job's end",
    "skipped": "nothing is sent after this outcome (`outputs.on`)",
}
# Of one reason; --json has all of them.
NAMED = 3


def upload_text(upload: Json, bar: int = 0) -> Text:
    """Some lines. `bar`: the width of a bar, while files leave; 0: none."""
    state = str(upload["state"])
    if state in NOT_BEGUN:
        return Text(NOT_BEGUN[state])
    text = Text.assemble(state_text(state), f": {counts_text(upload)}")
    if state == "sending":
        text.append_text(_pace(upload, bar))
    if error := upload["last_error"]:
        text.append("\n").append_text(trouble_text(error))
    return text


def counts_text(upload: Json) -> str:
    """`2 of 3 files, 1.0 KiB of 2.0 KiB, 1 failed`; what is whole is told once. While the job runs nobody knows how much it will be."""
    files, size = upload["files_done"], size_text(upload["bytes_done"])
    if upload["files_total"] is None:
        told = f"{_count(files)}, {size} so far"
    elif (files, upload["bytes_done"]) == (upload["files_total"], upload["bytes_total"]):
        told = f"{_count(files)}, {size}"
    else:
        told = f"{files} of {_count(upload['files_total'])}, {size} of {size_text(upload['bytes_total'])}"
    return f"{told}, {upload['files_failed']} failed" if upload["files_failed"] else told


def percent_of(upload: Json | None) -> int | None:
    """How much of it has left, by bytes; None where nothing leaves, or it is not counted yet."""
    if upload is None or upload["state"] != "sending" or upload["bytes_total"] is None:
        return None
    done, total = upload["bytes_done"], upload["bytes_total"]
    return min(100, 100 * done // total) if total else 0


def trouble_text(error: Json) -> Text:
    """What happened, of which file, and what to do."""
    return Text.assemble(
        trouble_line(error),
        (f" [{one_line(error['code'])}, blame {one_line(error['blame'])}]", "dim"),
        ("\n→ ", "cyan"),
        clean(error["remedy"]),
    )


def trouble_line(error: Json) -> str:
    whose = f"{one_line(error['path'])}: " if error["path"] else ""
    status = f" ({error['status']})" if error["status"] else ""
    return f"{whose}{one_line(error['message'])}{status}"


def file_state_text(upload: Json | None, size: int) -> Text:
    """One word, of at most 12 characters."""
    if upload is None:
        return Text("-", style="dim")
    told = state_text(str(upload["state"]))
    if upload["state"] == "sending" and size:
        told.append(f" {min(100, 100 * upload['bytes_done'] // size)}%")
    return told


def failed_notes(files: Sequence[Json]) -> list[str]:
    """Which of the files were given up, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for file in files:
        error = (file.get("upload") or {}).get("last_error")
        if error:
            told = trouble_line({**error, "path": None})
            by_reason.setdefault(told, []).append(one_line(file["path"]))
    return [f"{told}: {_named(paths)}" for told, paths in by_reason.items()]


def upload_event_text(kind: str, data: Json) -> Text:
    """Of `upload.began`, `upload.progress` and `upload.ended`."""
    if kind == "upload.began":
        return Text(f"outputs leave: {_count(data['files_total'])}, {size_text(data['bytes_total'])}")
    told = Text.assemble("outputs ", state_text(str(data["state"])), f": {counts_text(data)}")
    if kind == "upload.progress":
        return told.append(f", {size_text(data['rate'])}/s" if data["rate"] else "")
    return told.append(f"; {trouble_line(data['last_error'])}" if data["last_error"] else "")


def stopped_text(job: Json) -> str | None:
    """What a cancel did of a job that had ended already: no more than end its upload. None: it is the job that ends."""
    if job["phase"] not in {"uploading", "finished"}:
        return None
    return f"{job['outcome']}, and stays so; no more of its outputs are sent"


def _pace(upload: Json, bar: int) -> Text:
    notes = [f"{size_text(upload['rate'])}/s"] if upload["rate"] else []
    notes += [f"{span_text(upload['eta'])} left"] if upload["eta"] is not None else []
    percent = percent_of(upload)
    text = Text("\n") if notes or percent is not None else Text()
    if percent is not None:
        text.append_text(meter(percent / 100, bar)).append(f" {percent}%  " if bar else f"{percent}%  ")
    return text.append(", ".join(notes))


def _named(paths: Sequence[str]) -> str:
    rest = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + rest


def _count(files: int) -> str:
    return f"{files} file{'s' if files != 1 else ''}"
