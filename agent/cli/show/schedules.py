"""cli/show/schedules — schedules, for people. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from agent.cli.show.jobs import short_id_width
from agent.cli.show.tables import GAP, facts_table, plain_table
from agent.cli.show.words import age_text, fit, one_line, seconds_of, span_text, time_text

Json = Mapping[str, Any]

NEXT, LAST, COUNT = 6, 5, 6
COUNTS = ("fired", "skipped", "missed")


def schedules_table(schedules: Sequence[Json], now: float, width: int) -> Table:
    """One line a schedule, in `width` columns. `now` is UTC seconds."""
    id_width = short_id_width([str(schedule["id"]) for schedule in schedules])
    room = width - id_width - NEXT - LAST - 2 * COUNT - 6 * GAP
    cron = min(20, room // 2)
    headings = ("ID", "NAME", "CRON", "NEXT", "LAST", "FIRED", "MISSED")
    table = plain_table(headings, ("NEXT", "LAST", "FIRED", "MISSED"))
    for schedule in schedules:
        last = schedule["last"]
        table.add_row(
            str(schedule["id"])[:id_width],
            fit(str(schedule["name"]), room - cron),
            fit(str(schedule["cron"]), cron),
            next_text(schedule, now),
            "-" if last is None else age_text(last["at"], now),
            fit(str(schedule["fired"]), COUNT),
            fit(str(schedule["skipped"] + schedule["missed"]), COUNT),
        )
    return table


def next_text(schedule: Json, now: float) -> str:
    """In how much time."""
    if schedule["paused"]:
        return "paused"
    following = seconds_of(schedule["next"][0]) if schedule["next"] else None
    return "-" if following is None else span_text(following - now)


def schedule_view(schedule: Json, now: float) -> RenderableType:
    """All that is known of one."""
    return facts_table(_facts(schedule, now))


def _facts(schedule: Json, now: float) -> Iterator[tuple[str, str]]:
    yield "name", one_line(schedule["name"])
    yield "id", one_line(schedule["id"])
    if schedule["kind"] == "function":
        yield "starts", f"{one_line(schedule['chute'])}/{one_line(schedule['function'])}"
    else:
        yield "starts", f"a container of {one_line(schedule['spec'].get('image'))}"
    caught = "; makes up for the latest one that was missed" if schedule["catch_up"] else ""
    yield "cron", f"{one_line(schedule['cron'])} (UTC){caught}"
    if schedule["paused"]:
        yield "next", "paused"
    for number, time in enumerate(schedule["next"]):
        yield ("" if number else "next"), f"{time_text(time)} (in {_until(time, now)})"
    last = schedule["last"]
    if last is not None:
        by = "run by hand" if last["due"] is None else f"for {time_text(last['due'])}"
        yield "last", f"job {one_line(last['job'])}, {by}"
    yield "minutes", ", ".join(f"{schedule[name]} {name}" for name in COUNTS)
    trouble = schedule["trouble"]
    if trouble is not None:
        yield (
            "trouble",
            f"{one_line(trouble['message'])} ({trouble['code']}, {age_text(trouble['at'], now)} ago)",
        )
        yield "", one_line(trouble["remedy"])
    yield "made", f"{time_text(schedule['created_at'])} ({age_text(schedule['created_at'], now)})"


def _until(time: str, now: float) -> str:
    return span_text((seconds_of(time) or now) - now)
