"""cli/show/families — the jobs that came of one job, drawn as a tree, for people. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from agent.cli.show.jobs import STATE, WHY, short_id_width
from agent.cli.show.tables import STYLES
from agent.cli.show.words import age_text, fit, one_line, seconds_of, span_text

Json = Mapping[str, Any]

GAP, RAN = "  ", 5
LEAST_NAME = 16
# Of a tree that is deeper than a screen is wide.
MOST_GUIDE = 24
HERE = " ◀"
MARKS = {"succeeded": "✓", "failed": "✗", "timed_out": "✗", "lost": "✗", "cancelled": "⊘", "queued": "○"}
# What a failed step would have started, nobody but its author knows.
ALONE = {"failed": "failed", "timed_out": "timed out", "lost": "was lost"}


@dataclass(frozen=True, slots=True)
class _Guide:
    """What stands before a job, and before what is below it."""

    own: str
    below: str


@dataclass(frozen=True, slots=True)
class _Widths:
    name: int
    id: int
    why: int


def family_text(tree: Json, here: str, now: float, width: int, most: int | None = None) -> Text:
    """A line a job, and one under each that did not succeed and has no child. `here`: the job that is marked. `most` None: all of them."""
    items: Sequence[Json] = tree["items"]
    guides = list(_guides([int(item["depth"]) for item in items]))
    widths = _widths(items[:most], guides, width)
    lines = []
    for number, (item, guide) in enumerate(zip(items[:most], guides, strict=False)):
        lines.append(_line(item, guide, widths, now, here))
        # The last one of an answer that was cut may have children that are not in it.
        is_known = number + 1 < len(items) or not tree["truncated"]
        if is_known and _ended_alone(items, number):
            told = f"{guide.below}└─ {ALONE[item['outcome']]}; there is no job that it started"
            lines.append(Text(fit(told, width), style="dim"))
    left = len(items) - len(items[:most])
    if left or tree["truncated"]:
        lines.append(Text(_left_text(left, tree), style="dim"))
    return Text("\n").join(lines)


def _widths(items: Sequence[Json], guides: Sequence[_Guide], width: int) -> _Widths:
    ids = short_id_width([str(item["id"]) for item in items])
    room = width - ids - STATE - RAN - 4 * len(GAP)
    why = min(WHY, max(len(_why(item)) for item in items))
    label = max(len(_label(item, guide)) for item, guide in zip(items, guides, strict=False))
    name = max(LEAST_NAME, min(room - why, len(HERE) + label))
    return _Widths(name, ids, max(1, min(why, room - name)))


def _line(item: Json, guide: _Guide, widths: _Widths, now: float, here: str) -> Text:
    mark = HERE if item["id"] == here else ""
    label = fit(_label(item, guide), widths.name - len(mark)) + mark
    word = _state_word(item)
    line = Text(f"{label:<{widths.name}}", style="bold" if mark else "")
    line.append(f"{GAP}{str(item['id'])[: widths.id]}{GAP}")
    line.append(f"{fit(word, STATE):<{STATE}}", style=STYLES.get(word, ""))
    line.append(f"{GAP}{_ran(item, now):>{RAN}}{GAP}{fit(_why(item), widths.why)}")
    line.rstrip()
    return line


def _guides(depths: Sequence[int]) -> Iterator[_Guide]:
    """Of jobs in the order of drawing: a line goes on past each that has a sibling after it."""
    has_next = _have_next(depths)
    above: list[str] = []
    for depth, goes_on in zip(depths, has_next, strict=True):
        del above[max(0, depth - 1) :]
        before = "".join(above)
        if depth == 0:
            yield _Guide("", "")
            continue
        own, below = ("├─ ", "│  ") if goes_on else ("└─ ", "   ")
        yield _Guide(_narrow(before + own), _narrow(before + below))
        above.append("│  " if goes_on else "   ")


def _have_next(depths: Sequence[int]) -> list[bool]:
    """Whether another child of the same parent comes after it."""
    found = []
    open_depths: set[int] = set()
    for depth in reversed(depths):
        found.append(depth in open_depths)
        open_depths = {one for one in open_depths if one <= depth} | {depth}
    return found[::-1]


def _narrow(guide: str) -> str:
    return guide if len(guide) <= MOST_GUIDE else f"…{guide[1 - MOST_GUIDE :]}"


def _label(item: Json, guide: _Guide) -> str:
    mark = MARKS.get(_state_word(item), "●")
    return f"{guide.own}{mark} {one_line(item['name'] or item['function'] or 'job')}"


def _state_word(item: Json) -> str:
    return str(item["outcome"] or item["phase"])


def _ran(item: Json, now: float) -> str:
    began, ended = seconds_of(item["started_at"]), seconds_of(item["finished_at"])
    if began is None:
        return "-"
    return age_text(item["started_at"], now) if ended is None else span_text(ended - began)


def _why(item: Json) -> str:
    attempt = f"attempt {item['attempt']}" if item["attempt"] > 1 else None
    # What is being sent of a job that has ended says more than nothing.
    phase = item["phase"] if item["outcome"] and item["phase"] != "finished" else None
    return ", ".join(filter(None, (item["reason_code"], phase, attempt)))


def _ended_alone(items: Sequence[Json], number: int) -> bool:
    item = items[number]
    has_child = number + 1 < len(items) and items[number + 1]["depth"] > item["depth"]
    return bool(item["function"]) and item["outcome"] in ALONE and not has_child


def _left_text(left: int, tree: Json) -> str:
    if not left:
        return "and more, which are not told here"
    return f"and {'more than ' if tree['truncated'] else ''}{left} more"


def ended_alone(job: Json) -> bool:
    """Whether nothing came of a function that did not succeed. A step of a workflow would have started the next one."""
    calls = (job["chute"] or {}).get("function") is not None
    return calls and job["outcome"] in ALONE and not job["children"]


def family_stopped_text(job: Json, asked: int) -> str:
    """What a cancel of a job with all that it has started did: `asked` of them, itself among them unless it had ended."""
    return f"{job['outcome'] or 'stopping'}; {asked} job{'s' if asked != 1 else ''} asked to stop"
