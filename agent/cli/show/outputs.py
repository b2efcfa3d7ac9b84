"""cli/show/outputs — a job's output files, for people. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from agent.cli.show.tables import plain_table
from agent.cli.show.words import clean, one_line, size_text, time_text

Json = Mapping[str, Any]

# Enough to compare by eye; --json has all of it.
DIGEST = 12


def outputs_view(page: Json) -> RenderableType:
    """The files, then what is there and can't be fetched."""
    table = plain_table(("SIZE", "SHA256", "MODIFIED", "PATH"), ("SIZE",))
    table.columns[-1].no_wrap = False
    table.columns[-1].overflow = "fold"
    for file in page["items"]:
        digest = str(file["sha256"] or "-")[:DIGEST]
        table.add_row(size_text(file["size"]), digest, time_text(file["modified_at"]), one_line(file["path"]))
    notes = [
        f"not to be had: {one_line(skipped['path'])} ({clean(skipped['why'])})" for skipped in page["skipped"]
    ]
    if page["truncated"]:
        notes.append(f"the list ends here: {clean(page['truncated'])}")
    return Group(table, *(Text(note, style="yellow") for note in notes))
