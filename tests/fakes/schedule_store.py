"""fakes/schedule_store — schedules in memory: the part of agent.interfaces.Store that keeps them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from agent.core.chute import MOST_SCHEDULES, Version
from agent.core.job import Job, NewEvent, Viewer
from agent.core.schedule import Firing, OfContainer, OfFunction, Schedule, Timed, fire, of_version
from agent.interfaces import (
    NoSuchScheduleError,
    ScheduleNameTakenError,
    ScheduleQuery,
    StaleError,
    TooManySchedulesError,
)

T = TypeVar("T")


class MemorySchedules(ABC):
    """What of the memory store is about schedules. Its last `seq` outlives rows, as that of a table does."""

    _schedules: dict[str, Schedule]
    _last_schedule_seq: int
    _now: Callable[[], float]

    @abstractmethod
    async def _call(self, step: str, act: Callable[[], T]) -> T: ...

    @abstractmethod
    def _unfinished(self) -> list[Job]: ...

    @abstractmethod
    def _tell(self, job_id: str, at: float, told: Sequence[NewEvent]) -> None: ...

    async def add_schedule(self, schedule: Schedule) -> Schedule:
        def act() -> Schedule:
            own = self._owned(schedule.owner)
            if any(found.name == schedule.name for found in own):
                raise ScheduleNameTakenError(schedule.name)
            if len(own) >= MOST_SCHEDULES:
                raise TooManySchedulesError
            return self._insert_schedule(schedule)

        return await self._call("add_schedule", act)

    async def schedule(self, schedule_id: str, viewer: Viewer) -> Schedule | None:
        return await self._call("schedule", lambda: self._schedule(schedule_id, viewer))

    async def schedules(self, query: ScheduleQuery, viewer: Viewer) -> list[Schedule]:
        def act() -> list[Schedule]:
            newest = sorted(self._schedules.values(), key=lambda found: found.seq, reverse=True)
            asked = [found for found in newest if may_see(viewer, found) and is_asked(found, query)]
            if any(found.name == query.name for found in self._owned(viewer.principal)):
                asked = [found for found in asked if found.owner == viewer.principal]
            return [without_spec(found) for found in asked[: query.limit]]

        return await self._call("schedules", act)

    async def timed_schedules(self) -> list[Timed]:
        return await self._call(
            "timed_schedules",
            lambda: [
                Timed(found.id, found.owner, found.cron, found.since)
                for found in self._schedules.values()
                if not found.paused
            ],
        )

    async def change_schedule(
        self,
        schedule_id: str,
        viewer: Viewer,
        decide: Callable[[Schedule], tuple[Schedule, Mapping[str, NewEvent]]],
    ) -> Schedule | None:
        def act() -> Schedule | None:
            found = self._schedule(schedule_id, viewer)
            if found is None:
                return None
            changed, told = decide(found)
            for job_id, event in told.items():
                self._tell(job_id, self._now(), [event])
            return found if changed == found else self._update_schedule(changed)

        return await self._call("change_schedule", act)

    async def remove_schedule(self, schedule_id: str, viewer: Viewer) -> bool:
        def act() -> bool:
            found = self._schedule(schedule_id, viewer)
            if found is not None:
                del self._schedules[found.id]
            return found is not None

        return await self._call("remove_schedule", act)

    async def unfinished_of_schedule(self, schedule_id: str) -> str | None:
        def act() -> str | None:
            for job in self._unfinished():
                if job.fired_by is not None and job.fired_by.schedule == schedule_id:
                    return job.id
            return None

        return await self._call("unfinished_of_schedule", act)

    async def schedule_ids(self) -> set[str]:
        return await self._call(
            "schedule_ids",
            lambda: {found.id for found in self._schedules.values() if isinstance(found.what, OfContainer)},
        )

    def _for_firing(self, firing: Firing, owner: str) -> Schedule:
        found = self._schedule(firing.schedule, Viewer(owner))
        if found is None:
            raise NoSuchScheduleError(firing.schedule)
        is_same = (found.seq, found.version) == (firing.seq, firing.version)
        if firing.due is not None and (found.paused or not is_same):
            raise StaleError(f"the schedule {found.id} is not as it was")
        return found

    def _keep_fired(self, schedule: Schedule, firing: Firing, job: Job) -> None:
        self._update_schedule(fire(schedule, firing, job.id, job.created_at))

    def _follow(self, version: Version) -> None:
        before = self._of_chute_schedules(version.owner, version.chute)
        after = list(of_version(version, before, self._now()))
        known = {found.id: found for found in before}
        for gone in known.keys() - {found.id for found in after}:
            del self._schedules[gone]
        for found in after:
            if found.id not in known:
                self._insert_schedule(found)
            elif found != known[found.id]:
                self._update_schedule(found)

    def _remove_schedules_of(self, owner: str, chute: str | None) -> None:
        for found in self._of_chute_schedules(owner, chute):
            del self._schedules[found.id]

    def _count_other_schedules(self, owner: str, chute: str | None) -> int:
        return len(self._owned(owner)) - len(self._of_chute_schedules(owner, chute))

    def _of_chute_schedules(self, owner: str, chute: str | None) -> list[Schedule]:
        return [
            found
            for found in self._owned(owner)
            if isinstance(found.what, OfFunction) and found.what.chute == chute
        ]

    def _owned(self, owner: str) -> list[Schedule]:
        return [found for found in self._schedules.values() if found.owner == owner]

    def _insert_schedule(self, schedule: Schedule) -> Schedule:
        self._last_schedule_seq += 1
        self._schedules[schedule.id] = replace(schedule, seq=self._last_schedule_seq, version=0)
        return self._schedules[schedule.id]

    def _update_schedule(self, schedule: Schedule) -> Schedule:
        self._schedules[schedule.id] = replace(schedule, version=schedule.version + 1)
        return self._schedules[schedule.id]

    def _schedule(self, schedule_id: str, viewer: Viewer) -> Schedule | None:
        found = self._schedules.get(schedule_id)
        return found if found is not None and may_see(viewer, found) else None


def may_see(viewer: Viewer, schedule: Schedule) -> bool:
    return viewer.sees_all or viewer.principal == schedule.owner


def is_asked(schedule: Schedule, query: ScheduleQuery) -> bool:
    return (
        (query.name is None or schedule.name == query.name)
        and (query.id_prefix is None or schedule.id.startswith(query.id_prefix))
        and (query.before_seq is None or schedule.seq < query.before_seq)
    )


def without_spec(schedule: Schedule) -> Schedule:
    is_function = isinstance(schedule.what, OfFunction)
    return schedule if is_function else replace(schedule, what=OfContainer(None))
