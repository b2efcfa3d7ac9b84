"""cli/show/problems — an error as people read it: what happened, each fault, whose it is, and what to do next."""

from rich.console import Group, RenderableType
from rich.text import Text

from agent.cli.show.words import Json, clean, one_line

INDENT = "    "
# How each blame reads; what it is not, is said too, since that is what people ask first.
WHOSE = {
    "user": "in what was asked",
    "host": "of this host, not of your job",
    "platform": "of gpu-agent itself",
}


def show_problem(document: Json) -> RenderableType:
    """A problem document of the API, or of this program's own."""
    code = one_line(document.get("code", "unknown"))
    whose = WHOSE.get(str(document.get("blame")))
    about = f"({code})" if whose is None else f"({code}: {whose})"
    faults = [fault for fault in document.get("faults") or [] if isinstance(fault, dict)]
    told = clean(document.get("detail") or document.get("title") or code)
    first, *rest = [f"{len(faults)} faults"] if len(faults) > 1 else told.split("\n")
    lines: list[RenderableType] = [
        Text.assemble(("✗ ", "bold red"), (first, "bold"), " ", (about, "dim")),
        *map(Text, rest),
        *map(show_fault, faults),
    ]
    if remedy := document.get("remedy"):
        lines.append(Text.assemble(("→ ", "cyan"), clean(remedy)))
    return Group(*lines)


def show_fault(fault: Json) -> Text:
    """One fault: the field, the rule that it breaks, and the way out. Indented by spaces, since a file wraps nothing."""
    told = Text.assemble(
        INDENT,
        (f"{one_line(fault['where'])} " if fault.get("where") else "", "bold"),
        (one_line(fault.get("field", "?")), "yellow"),
        f" {one_line(fault.get('message', ''))}",
        (f" [{one_line(fault.get('code', ''))}]", "dim"),
    )
    if remedy := fault.get("remedy"):
        told.append(f"\n{INDENT}→ {one_line(remedy)}", style="dim")
    return told
