"""core/family — jobs that came of one job: what is told of each, in the order in which they are drawn. Values; finds none."""

from dataclasses import dataclass

from agent.core.job import Outcome
from agent.errors import Phase

# What an answer holds. A job starts 100 others by default, and those as many again.
MOST_RELATIVES = 1_000


@dataclass(frozen=True, slots=True)
class Relative:
    """`depth`: steps below the tree's first job. `parent`: who started it, also one that is forgotten. `function` None: it calls none."""

    id: str
    parent: str | None
    depth: int
    name: str | None
    function: str | None
    phase: Phase
    outcome: Outcome | None
    reason_code: str | None
    attempt: int
    created_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """`relatives`: a job and all below it; each stands before its children, and these before its next sibling, oldest first.

    `root`: the topmost of those above the first that are still known. `is_cut`: there are more than `relatives` has.
    """

    root: str
    relatives: tuple[Relative, ...]
    is_cut: bool = False
