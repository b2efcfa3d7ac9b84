"""cli/show/outputs — a job's output files, for people. Pure."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from agent.cli.show.tables import plain_table
from agent.cli.show.uploads import failed_notes, file_state_text, upload_text
from agent.cli.show.words import clean, one_line, size_text, time_text

Json = Mapping[str, Any]

# Enough to compare by eye; --json has all of it.
DIGEST = 12


def outputs_view(page: Json, upload: Json | None = None) -> RenderableType:
    """The files, then what is there and can't be fetched. `upload`: the job's, which has each file say whether it has left."""
    leaves = ("LEFT",) if upload is not None else ()
    table = plain_table(("SIZE", "SHA256", "MODIFIED", *leaves, "PATH"), ("SIZE",))
    table.columns[-1].no_wrap = False
    table.columns[-1].overflow = "fold"
    for file in page["items"]:
        digest = str(file["sha256"] or "-")[:DIGEST]
        left = [file_state_text(file["upload"], file["size"])] if leaves else []
        table.add_row(
            size_text(file["size"]), digest, time_text(file["modified_at"]), *left, one_line(file["path"])
        )
    return Group(table, *_notes(page, upload))


def _notes(page: Json, upload: Json | None) -> list[Text]:
    notes = [
        f"not to be had: {one_line(skipped['path'])} ({clean(skipped['why'])})" for skipped in page["skipped"]
    ]
    if page["truncated"]:
        notes.append(f"the list ends here: {clean(page['truncated'])}")
    told = [Text(note, style="yellow") for note in notes]
    if upload is None:
        return told
    told += [Text(f"did not leave: {note}", style="yellow") for note in failed_notes(page["items"])]
    return [*told, Text("upload  ", style="dim").append_text(upload_text(upload))]
