"""interfaces/schedule_store — the rows of schedules, and the promises on each method. No implementation.

What fires one is `Store.accept`, which takes a `Firing` with the job: both are written, or neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.core.chute import MOST_SCHEDULES
from agent.core.job import NewEvent, Viewer
from agent.core.schedule import Schedule, Timed
from agent.errors import AgentError, Blame


class NoSuchScheduleError(AgentError):
    """No schedule of that id is this principal's."""

    code, blame = "schedule_not_found", Blame.USER
    remedy = "Check the id; `gpu-agent schedule ls` lists your schedules."

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"there is no schedule {schedule_id[:64]!a}")


class ScheduleNameTakenError(AgentError):
    """Another schedule of the principal has that name."""

    code, blame = "schedule_name_taken", Blame.USER
    remedy = (
        "Look at it (gpu-agent schedule show NAME): where an answer was lost, it is the one that you asked for. "
        "Else choose another name, or remove it first."
    )

    def __init__(self, name: str) -> None:
        super().__init__(f"you have a schedule named {name} already")


class TooManySchedulesError(AgentError):
    """The principal has as many schedules as may be."""

    code, blame = "too_many_schedules", Blame.USER
    remedy = "Remove some that are not needed any more (gpu-agent schedule rm)."

    def __init__(self) -> None:
        super().__init__(f"you have {MOST_SCHEDULES} schedules already, and more may not be")


@dataclass(frozen=True, slots=True)
class ScheduleQuery:
    """Filters of a list, newest first; None is no filter. `before_seq`: the keyset, exclusive.

    `name`: the viewer's own of that name; others' that he may see only where he has none.
    """

    name: str | None = None
    id_prefix: str | None = None
    before_seq: int | None = None
    limit: int = 50


class ScheduleStore(Protocol):
    """Each method is one transaction, durable when it returns. All raise StoreUnavailableError."""

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        """Insert it. Raises ScheduleNameTakenError, TooManySchedulesError."""
        ...

    async def schedule(self, schedule_id: str, viewer: Viewer) -> Schedule | None: ...

    async def schedules(self, query: ScheduleQuery, viewer: Viewer) -> list[Schedule]: ...

    async def timed_schedules(self) -> list[Timed]:
        """All that are not paused."""
        ...

    async def change_schedule(
        self,
        schedule_id: str,
        viewer: Viewer,
        decide: Callable[[Schedule], tuple[Schedule, Mapping[str, NewEvent]]],
    ) -> Schedule | None:
        """Read, decide, write in one transaction, with an event for each job that is named; one that is gone is fine.

        None: no such schedule for this viewer. A row returned unchanged is not written.
        """
        ...

    async def remove_schedule(self, schedule_id: str, viewer: Viewer) -> bool: ...

    async def unfinished_of_schedule(self, schedule_id: str) -> str | None:
        """The oldest job that it started, by a minute or by hand, and that has not ended."""
        ...

    async def schedule_ids(self) -> set[str]:
        """Of all that have a file: of container jobs."""
        ...
