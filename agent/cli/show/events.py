"""cli/show/events — events of jobs and of the host, a line each, for people. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from agent.cli.show.functions import progress_text
from agent.cli.show.jobs import SHORT_ID
from agent.cli.show.tables import state_text
from agent.cli.show.uploads import upload_event_text
from agent.cli.show.words import one_line, size_text, time_text

Json = Mapping[str, Any]


def event_line(event: Json) -> Text:
    """Time, job, and what happened, on one line. What is no job's is the host's."""
    whose = "host" if event["job"] is None else str(event["job"])[:SHORT_ID]
    line = Text(f"{time_text(event['at'])[11:]}  {whose:<{SHORT_ID}}  ", style="dim")
    return line.append_text(event_text(str(event["type"]), event.get("data") or {}))


def event_text(kind: str, data: Json) -> Text:
    if kind in {"job.phase", "job.accepted"} and "to" in data:
        notes = [f"attempt {data['attempt']}"] if data.get("attempt", 1) > 1 else []
        notes += [str(data[name]) for name in ("outcome", "reason") if data.get(name)]
        return moved_text(data, ", ".join(notes))
    if kind == "gpu.state" and "to" in data:
        needs = f" (needs {', '.join(map(str, data['needs']))})" if data.get("needs") else ""
        return Text(f"{one_line(data.get('gpu', ''))}  ").append_text(
            moved_text(data, f"{data.get('words') or ''}{needs}".strip())
        )
    if kind == "image.progress":
        done, total = size_text(data.get("bytes_done")), size_text(data.get("bytes_total"))
        return Text(f"pulling {one_line(data.get('image', ''))}: {done} of {total}")
    if kind == "job.progress" and "percent" in data:
        return progress_text(data)
    if kind.startswith("upload.") and "state" in data:
        return upload_event_text(kind, data)
    facts = " ".join(
        f"{one_line(name)}={one_line(value)}" for name, value in data.items() if value is not None
    )
    return Text(f"{one_line(kind)} {facts}".rstrip())


def moved_text(data: Json, notes: str) -> Text:
    """From one state to another, and what there is to say of that."""
    came_from = f"{one_line(data['from'])} → " if data.get("from") else ""
    moved = Text.assemble(came_from, state_text(one_line(data["to"])))
    return moved.append(f"  {one_line(notes)}" if notes else "", style="dim")
