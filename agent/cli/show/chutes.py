"""cli/show/chutes — chutes and their functions, for people. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.show.tables import GAP, facts_table, plain_table
from agent.cli.show.words import age_text, clean, fit, one_line, span_text, time_text

Json = Mapping[str, Any]

VERSION, AGE = 7, 5
SHOWN_VERSIONS = 5


def chutes_table(chutes: Sequence[Json], now: float, width: int) -> Table:
    """One line a chute, in `width` columns. `now` is UTC seconds."""
    room = width - VERSION - AGE - 4 * GAP
    name, image = room // 3, room // 4
    table = plain_table(("NAME", "VERSION", "JOBS", "IMAGE", "AGE"), ("VERSION", "AGE"))
    for chute in chutes:
        jobs = ", ".join(map(str, chute["jobs"]))
        table.add_row(
            fit(str(chute["name"]), name),
            str(chute["version"]["number"]),
            fit(jobs or "-", room - name - image),
            fit(str(chute["image"]), image),
            age_text(chute["version"]["created_at"], now),
        )
    return table


def chute_view(chute: Json, now: float) -> RenderableType:
    """All that is known of one."""
    return Group(
        facts_table(_facts(chute, now)),
        Text("\nJobs", style="bold"),
        *map(_job_text, chute["jobs"]),
        *([Text("\nCords", style="bold")] if chute["cords"] else []),
        *map(_cord_text, chute["cords"]),
        *([Text("\nNotes", style="bold")] if chute["notes"] else []),
        *(Text(f"  {clean(note)}") for note in chute["notes"]),
    )


def _facts(chute: Json, now: float) -> Iterator[tuple[str, str]]:
    version = chute["version"]
    yield "name", one_line(chute["name"])
    yield "version", f"{version['number']}, {version['id']}"
    yield "deployed", f"{time_text(version['created_at'])} ({age_text(version['created_at'], now)})"
    yield "image", one_line(chute["image"])
    yield "entry", one_line(chute["entry"])
    if chute.get("tagline"):
        yield "tagline", one_line(chute["tagline"])
    if chute["spec"]:
        yield "defaults", one_line(json.dumps(chute["spec"]))
    earlier = [other for other in chute["versions"] if other["id"] != version["id"]][:SHOWN_VERSIONS]
    if earlier:
        yield (
            "before it",
            ", ".join(f"{other['number']} ({age_text(other['created_at'], now)})" for other in earlier),
        )


def _job_text(job: Json) -> Text:
    settings = ", ".join(_settings(job))
    text = Text.assemble("  ", (one_line(job["name"]), "cyan"), f"  {one_line(job['signature'])}")
    if settings:
        text.append(f"\n      {settings}", style="dim")
    if job.get("doc"):
        text.append(f"\n      {one_line(str(job['doc']).partition(chr(10))[0])}", style="dim")
    return text


def _cord_text(cord: Json) -> Text:
    method, path = one_line(str(cord["method"])), one_line(str(cord["public_api_path"]))
    text = Text.assemble("  ", (f"{method:<6} {path}", "cyan"), f"  {one_line(cord['signature'])}")
    if cord.get("doc"):
        text.append(f"\n      {one_line(str(cord['doc']).partition(chr(10))[0])}", style="dim")
    return text


def _settings(job: Json) -> Iterator[str]:
    if job["schedule"] is not None:
        yield f"schedule {one_line(job['schedule'])}"
    if job["timeout"] is not None:
        yield f"timeout {span_text(job['timeout'])}"
    if job["retry_count"]:
        yield f"retries {job['retry_count']}"
    if job["queue"] != "default":
        yield f"queue {one_line(job['queue'])}"
    if job["priority"]:
        yield f"priority {job['priority']}"
    for port in job["ports"]:
        yield f"port {one_line(port['name'])}:{port['port']}/{one_line(port['proto'])}"
    if job["ssh"]:
        yield "ssh"
    if not job["upload"]:
        yield "outputs stay on the host"
