"""core/job_counts — how many jobs there are of each sort, and what they hold, at one moment. Values; names no job and nobody."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.errors import Phase

# In `JobCounts.totals` beside the outcomes.
RETRIED = "retried"


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Over all principals.

    `unfinished`: by phase and queue, where None stands for all queues that were not asked for. `waiting`: the queued ones by what they
    wait for; "": not looked at yet. `kept`: the finished ones that are kept still. `totals`: by outcome and code of the reason ("":
    none), and RETRIED; they only ever grow, and the agent's own kinds are not in them.
    """

    unfinished: Mapping[tuple[Phase, str | None], int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    kept: int = 0
    totals: Mapping[tuple[str, str], int] = field(default_factory=dict)
    leased_gpus: frozenset[str] = frozenset()
    ports_held: int = 0
