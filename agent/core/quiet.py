"""core/quiet — which output files were left alone for long enough to be sent while their job runs. Pure: the clock is the caller's.

A file that was closed after writing is due once it was quiet for that long, and one that was renamed into place at once: who does
that has finished it. One that was only found (when the watch began, in a new folder, in a scan) may still be open, which nobody
can tell; it is due as if it had been closed. Whoever sends a due file opens it, and drops it where its size or its time of
modification are not those of the sighting: somebody writes to it, and its end will be noticed in its turn.
"""

from dataclasses import dataclass
from enum import StrEnum


class Noticed(StrEnum):
    """Why a file came to notice."""

    CLOSED = "closed"  # after writing
    MOVED_IN = "moved_in"  # renamed into place, or its folder was
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Sighting:
    """An output file at one moment. `path` in its text form."""

    path: str
    size_bytes: int
    modified_ns: int
    noticed: Noticed


@dataclass(frozen=True, slots=True)
class _Waiting:
    sighting: Sighting
    due_at: float


class QuietFiles:
    """The files that wait to be quiet for `quiet_seconds`; at most `most`, so that a job can't fill the memory with names.

    All moments are seconds of one clock that never goes back.
    """

    def __init__(self, quiet_seconds: float, most: int) -> None:
        self._quiet_seconds = quiet_seconds
        self._most = most
        # Each ordered by `due_at`: what is seen anew goes to the end.
        self._at_once: dict[str, _Waiting] = {}
        self._later: dict[str, _Waiting] = {}

    def see(self, sighting: Sighting, now: float) -> bool:
        """Take it in. False: there are too many, and it has to wait for the last pass, which sends all that is left."""
        waiting = self._at_once.get(sighting.path) or self._later.get(sighting.path)
        if waiting is None and len(self._at_once) + len(self._later) >= self._most:
            return False
        if sighting.noticed is Noticed.MOVED_IN:
            self.forget(sighting.path)
            self._at_once[sighting.path] = _Waiting(sighting, now)
        elif waiting is None or not _is_same(waiting.sighting, sighting):
            self.forget(sighting.path)
            self._later[sighting.path] = _Waiting(sighting, now + self._quiet_seconds)
        return True

    def take_due(self, now: float) -> list[Sighting]:
        """The files that are due, those renamed in first; they wait no more."""
        due = [waiting.sighting for held in (self._at_once, self._later) for waiting in _begin(held, now)]
        for sighting in due:
            self.forget(sighting.path)
        return due

    def next_due_at(self) -> float | None:
        """When there is something to take. None: nothing waits."""
        firsts = [next(iter(held.values())).due_at for held in (self._at_once, self._later) if held]
        return min(firsts, default=None)

    def forget(self, path: str) -> None:
        """It waits no more, if it did."""
        self._at_once.pop(path, None)
        self._later.pop(path, None)


def _is_same(one: Sighting, other: Sighting) -> bool:
    """Whether nothing was written between the two: a file that is only opened and closed again stays quiet."""
    return (one.size_bytes, one.modified_ns) == (other.size_bytes, other.modified_ns)


def _begin(held: dict[str, _Waiting], now: float) -> list[_Waiting]:
    due: list[_Waiting] = []
    for waiting in held.values():
        if waiting.due_at > now:
            break
        due.append(waiting)
    return due
