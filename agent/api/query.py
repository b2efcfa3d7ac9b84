"""api/query — query parameters as values: every fault is gathered, then refused at once. Knows no endpoint."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from aiohttp import web

from agent.api.problems import BadRequestError
from agent.spec import Fault, nearest

Choice = TypeVar("Choice", bound=StrEnum)
MAX_TEXT_CHARACTERS = 1024
# A URL has room for thousands of names, and each is compared with those that there are.
MOST_UNKNOWN = 16
ID_PREFIX = re.compile(r"[0-9a-fA-F-]{1,36}")
DIGITS = re.compile(r"[0-9]{1,18}")
# As find_unreadable of spec: an offset is always there, since a time without one is anybody's guess.
RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{8}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Query:
    """Reads parameters by name. Call `refuse_faults` once, after the last; it knows then which names were read."""

    def __init__(self, request: web.Request) -> None:
        self._given = request.query
        self._faults: list[Fault] = []
        self._names: set[str] = set()

    def text(self, name: str) -> str | None:
        """The parameter as given; None where it is not. Given twice, it is a fault."""
        self._names.add(name)
        values = self._given.getall(name, [])
        if len(values) > 1:
            self._refuse(name, "is given more than once", "Give it once.")
        if values and (len(values[0]) > MAX_TEXT_CHARACTERS or "\0" in values[0]):
            self._refuse(name, "is too long or holds a NUL character", "Shorten it.")
            return None
        return values[0] if values else None

    def texts(self, name: str) -> tuple[str, ...]:
        """A parameter that may be given more than once."""
        self._names.add(name)
        return tuple(self._given.getall(name, []))

    def id_prefix(self, name: str) -> str | None:
        """The beginning of a UUID, in the letters in which ids are kept."""
        given = self.text(name)
        if given is not None and not ID_PREFIX.fullmatch(given):
            self._refuse(name, "is no beginning of a UUID", "Write its first hex digits.")
            return None
        return None if given is None else given.lower()

    def number(self, name: str, default: int | None, low: int, high: int) -> int | None:
        given = self.text(name)
        if given is None:
            return default
        if DIGITS.fullmatch(given) and low <= int(given) <= high:
            return int(given)
        self._refuse(name, f"must be a whole number from {low} to {high}", "Write such a number.")
        return default

    def choice(self, name: str, kind: type[Choice]) -> Choice | None:
        given = self.text(name)
        return None if given is None else self._choose(name, kind, given)

    def choices(self, name: str, kind: type[Choice]) -> tuple[Choice, ...]:
        """Values set off by commas, or the parameter given several times."""
        given = [part for value in self.texts(name) for part in value.split(",") if part]
        chosen = [self._choose(name, kind, part) for part in given]
        return tuple(choice for choice in chosen if choice is not None)

    def is_set(self, name: str) -> bool:
        given = self.text(name)
        if given in {None, "0", "false"}:
            return False
        if given not in {"", "1", "true"}:
            self._refuse(name, "must be true or false", "Write true or false.")
        return True

    def time(self, name: str) -> float | None:
        """RFC 3339 with an offset, or seconds since the epoch; as UTC seconds."""
        given = self.text(name)
        if given is None:
            return None
        # A date that the calendar has not is refused below, in the same words as any other text.
        with suppress(ValueError, OverflowError):
            if RFC_3339.fullmatch(given):
                return datetime.fromisoformat(given.upper()).astimezone(UTC).timestamp()
            if re.fullmatch(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", given):
                return float(given)
        self._refuse(
            name, "must be a time", "Write it as 2030-01-31T08:00:00Z, or as seconds since the epoch."
        )
        return None

    def refuse(self, name: str, message: str, remedy: str) -> None:
        """Add a fault of the caller's own."""
        self._refuse(name, message, remedy)

    def refuse_faults(self) -> None:
        """Raises BadRequestError with every fault, unknown parameters among them."""
        unknowns = (name for name in self._given if name not in self._names)
        for name in islice(unknowns, MOST_UNKNOWN):
            self._refuse(
                name[:64], unknown(name, self._names), f"There are: {', '.join(sorted(self._names))}."
            )
        if self._faults:
            raise BadRequestError(list(dict.fromkeys(self._faults)))

    def _choose(self, name: str, kind: type[Choice], given: str) -> Choice | None:
        try:
            return kind(given)
        except ValueError:
            choices = ", ".join(kind)
            self._refuse(name, f"must be one of {choices}", f"Write one of {choices}.")
            return None

    def _refuse(self, name: str, message: str, remedy: str) -> None:
        self._faults.append(Fault(name, "bad_parameter", message, remedy))


def unknown(name: str, known: Iterable[str]) -> str:
    return f"is no parameter here{nearest(name, known)}"
