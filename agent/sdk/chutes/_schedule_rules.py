"""chutes/_schedule_rules — when a job may start by itself: five fields of cron, or a word for them. Whether such a time ever comes the host finds out."""

from __future__ import annotations

import re
from typing import Any, Iterator, NamedTuple

from chutes.errors import Fault

MAX_CHARACTERS = 200
WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
REMEDY = 'Write it as in "0 3 * * *" (at 3:00 UTC), "*/5 9-17 * * MON-FRI" or "@daily".'
NUMBER = re.compile("[0-9]{1,9}")


class Field(NamedTuple):
    name: str
    low: int
    high: int
    # In the order of their numbers, the first is `low`.
    names: tuple[str, ...] = ()


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field(
        "month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    ),
    Field("day of the week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)


def find_time_faults(schedule: Any) -> Iterator[Fault]:
    """One for each field that is wrong."""
    if not isinstance(schedule, str) or len(schedule) > MAX_CHARACTERS:
        told = f"must be a text of at most {MAX_CHARACTERS} characters, not {schedule!r:.80}"
        yield Fault("schedule", told, REMEDY)
        return
    if schedule in WORDS:
        return
    fields = schedule.upper().split()
    if len(fields) != len(FIELDS):
        told = f"must be five fields or one of {', '.join(WORDS)}, not {schedule!r:.80}"
        yield Fault("schedule", told, REMEDY)
        return
    for field, text in zip(FIELDS, fields):
        for wrong in find_faults(field, text):
            yield Fault("schedule", f"{field.name} {text!r:.80}: {wrong}", REMEDY)
            break


def find_faults(field: Field, text: str) -> Iterator[str]:
    for term in text.split(","):
        times, slash, step = term.partition("/")
        if slash and not (NUMBER.fullmatch(step) and int(step)):
            yield f"{step!r:.40} is no step: behind the / comes a number from 1 on"
        if times == "*":
            continue
        first, dash, last = times.partition("-")
        ends = [first, last] if dash else [first]
        numbers = [number_of(field, end) for end in ends]
        for end, number in zip(ends, numbers):
            if number is None:
                yield f"{end!r:.40} is {words_of(field)}"
        known = [number for number in numbers if number is not None]
        if len(known) == 2 and known[0] > known[1]:
            yield f"{times!r:.40} ends before it begins"


def number_of(field: Field, text: str) -> int | None:
    if text in field.names:
        return field.low + field.names.index(text)
    number = int(text) if NUMBER.fullmatch(text) else -1
    return number if field.low <= number <= field.high else None


def words_of(field: Field) -> str:
    named = f", and no name as {field.names[0]}" if field.names else ""
    return f"no number from {field.low} to {field.high}{named}"
