"""chutes/_field_rules — the rules for one number, switch or text, whatever it is for. Which fields have which, its users say."""

from __future__ import annotations

import re
from typing import Any, Iterable, Iterator, NamedTuple

from chutes.errors import Fault


class Form(NamedTuple):
    """What a text looks like: a pattern, the most characters, the same in words, and an example."""

    pattern: re.Pattern[str]
    most: int
    words: str
    example: str


WORD = "letters, digits and ._- with a letter or digit first"
ANY_TEXT = Form(re.compile(r"(?s).*"), 100_000, "a text", '"a text"')


def is_whole(value: Any) -> bool:
    # To Python True is an int, and to nobody else.
    return isinstance(value, int) and not isinstance(value, bool)


def find_number_fault(field: str, value: Any, low: int, high: int) -> Iterator[Fault]:
    if not is_whole(value) or not low <= value <= high:
        told = f"must be a whole number from {low} to {high}, not {value!r:.80}"
        yield Fault(field, told, f"Write a number from {low} to {high}.")


def find_switch_fault(field: str, value: Any) -> Iterator[Fault]:
    if not isinstance(value, bool):
        yield Fault(field, f"must be True or False, not {value!r:.80}", "Write True or False.")


def find_text_fault(field: str, value: Any, form: Form) -> Iterator[Fault]:
    if not (isinstance(value, str) and len(value) <= form.most and form.pattern.fullmatch(value)):
        told = f"must be {form.words}, of at most {form.most} characters, not {value!r:.80}"
        yield Fault(field, told, f"Write it as in {form.example}.")


def find_unknown_faults(names: Iterable[str], known: Iterable[str], what: str) -> Iterator[Fault]:
    for name in names:
        yield Fault(name, f"is no setting of {what}", suggest(name, list(known)))


def suggest(name: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415 — only a mistake needs it, and every job's start would wait for it

    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
