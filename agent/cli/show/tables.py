"""cli/show/tables — the look that all tables and lists of facts share. Knows no document."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

GAP = 2
STYLES = {
    "queued": "yellow",
    "starting": "cyan",
    "running": "cyan",
    "stopping": "magenta",
    "uploading": "magenta",
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "yellow",
    "sending": "cyan",
    "sent": "green",
    "complete": "green",
    "partial": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "suspect": "yellow",
    "quarantined": "red",
    "resetting": "magenta",
    "missing": "red",
}


def plain_table(headings: Sequence[str], numbers: Iterable[str] = ()) -> Table:
    """No frame, and nothing that is cut: cells are made to fit before. `numbers` names columns that are set to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    right = frozenset(numbers)
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right" if heading in right else "left")
    return table


def facts_table(facts: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values below each other; long values wrap in their column."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value if isinstance(value, Text) else Text(value))
    return table


def state_text(state: str) -> Text:
    return Text(state, style=STYLES.get(state, ""))
