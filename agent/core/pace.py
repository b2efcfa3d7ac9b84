"""core/pace — how many of a job's events of one kind are told: a burst, then one a second. Pure; tells none itself."""

from dataclasses import dataclass

# A job may log in to itself, or be looked into by a script, for ever: of one job at most so many are told at once, and one a second
# from then on.
BURST, PER_SECOND = 60.0, 1.0
# What was missed is told by the next one of that day.
MISSED_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What may still be told. `at` is of any clock that never goes back; `missed`: since the last that was told."""

    at: float
    left: float = BURST
    missed: int = 0


def pass_by(pace: Pace, at: float) -> tuple[Pace, int | None]:
    """One more. How many were missed before it; None: it is missed, too."""
    left = min(BURST, pace.left + (at - pace.at) * PER_SECOND)
    if left < 1:
        return Pace(at, left, pace.missed + 1), None
    return Pace(at, left - 1), pace.missed


def is_rested(pace: Pace, now: float) -> bool:
    """Whether nothing of it is needed any more: a new one would pass the same."""
    idle = now - pace.at
    return pace.left + idle * PER_SECOND >= BURST and (not pace.missed or idle > MISSED_SECONDS)
