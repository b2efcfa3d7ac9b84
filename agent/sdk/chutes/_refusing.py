"""chutes/_refusing — what a broken rule leads to: it ends the author's file, or is noted for a deploy that wants all of them. Finds none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterable, Iterator

from chutes.errors import Fault, RegistrationError

# How many `noting()` are open. A process loads one file at a time, so one for all will do.
_open: list[None] = []


@contextmanager
def noting() -> Iterator[None]:
    """Within it a refused function is noted, and its file goes on."""
    _open.append(None)
    try:
        yield
    finally:
        _open.pop()


def raise_or_note(error: RegistrationError, noted: list[RegistrationError]) -> None:
    if not _open:
        raise error
    noted.append(error)


def raise_all(kind: str, name: object, faults: Iterable[Fault]) -> None:
    """For what the rest of a file can't do without."""
    found = list(faults)
    if found:
        raise RegistrationError(kind, str(name), found)
