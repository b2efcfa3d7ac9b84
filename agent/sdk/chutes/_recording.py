"""chutes/_recording — whether a broken rule ends the author's file (as a person wants) or is only noted (as a deploy does). Checks none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, List

from chutes.errors import RegistrationError

# How many `recording()` are open. One process describes one chute, so a plain number will do.
_open: List[None] = []


@contextmanager
def recording() -> Iterator[None]:
    _open.append(None)
    try:
        yield
    finally:
        _open.pop()


def raise_or_note(error: RegistrationError, noted: List[RegistrationError]) -> None:
    if not _open:
        raise error
    noted.append(error)
