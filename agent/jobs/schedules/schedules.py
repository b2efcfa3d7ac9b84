"""jobs/schedules/schedules — schedules as everyone asks for them: make, list, remove, run, pause, resume. Fires none by itself."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from agent.core.job import NewEvent, Viewer
from agent.core.schedule import OfContainer, OfFunction, Schedule, pause, resume
from agent.errors import AgentError, Blame
from agent.interfaces import (
    Accepted,
    NoSuchScheduleError,
    ScheduleQuery,
    Store,
    StoreUnavailableError,
)
from agent.jobs.intake import Intake
from agent.jobs.schedules.submitting import Submitting, digest_of_run
from agent.jobs.schedules.timetable import Timetable
from agent.spec import (
    JobSpec,
    ScheduleRefusedError,
    ScheduleRequest,
    SpecRefusedError,
    masked,
    place_in_schedule,
    read_schedule,
)

log = structlog.get_logger(__name__)


class ScheduleOfChuteError(AgentError):
    """A schedule that a function's decorator asks for goes with the function, and not by itself."""

    code, blame = "schedule_of_chute", Blame.USER
    remedy = "Pause it, or deploy the chute without the schedule."

    def __init__(self, name: str) -> None:
        super().__init__(f"the schedule {name} is its function's, and would be back with the next deploy")


@dataclass(slots=True, eq=False)
class Schedules:
    """`new_id` makes a fresh UUID."""

    intake: Intake
    submitting: Submitting
    timetable: Timetable
    new_id: Callable[[], str] = field(repr=False)

    @property
    def store(self) -> Store:
        """Where the rows are."""
        return self.intake.store

    async def add(self, viewer: Viewer, body: object) -> Schedule:
        """Make one of a container job; when this returns, its row and its secrets are on disk. `body`: decoded JSON, maybe hostile.

        Raises ScheduleRefusedError, GpusNeverFitError, ScheduleNameTakenError, TooManySchedulesError, StateFullError,
        StateReadOnlyError, StoreUnavailableError; nothing of it is left then.
        """
        asked, spec = await self._check(body)
        now, schedule_id = self.intake.clock.now(), self.new_id()
        fresh = Schedule(
            id=schedule_id,
            owner=viewer.principal,
            name=asked.name,
            what=OfContainer(masked(spec)),
            cron=asked.cron,
            created_at=now,
            since=now,
            seed=schedule_id,
            catch_up=asked.catch_up,
        )
        try:
            await self.submitting.files.keep(schedule_id, json.dumps(asked.spec))
            added = await self.store.add_schedule(fresh)
        except BaseException:
            await self._remove_unless_rowed(schedule_id, viewer)
            raise
        finally:
            # Also where the client has left: its row may be there all the same.
            self.timetable.look()
        log.info("schedule.made", schedule=added.id, owner=added.owner, cron=added.cron)
        return added

    async def find(self, viewer: Viewer, schedule_id: str) -> Schedule:
        """Raises NoSuchScheduleError, StoreUnavailableError."""
        found = await self.store.schedule(schedule_id, viewer)
        if found is None:
            raise NoSuchScheduleError(schedule_id)
        return found

    async def list(self, viewer: Viewer, query: ScheduleQuery) -> list[Schedule]:
        """Newest first. Raises StoreUnavailableError."""
        return await self.store.schedules(query, viewer)

    async def remove(self, viewer: Viewer, schedule_id: str) -> None:
        """Its jobs stay. Raises NoSuchScheduleError, ScheduleOfChuteError, StoreUnavailableError."""
        found = await self.find(viewer, schedule_id)
        if isinstance(found.what, OfFunction):
            raise ScheduleOfChuteError(found.name)
        await self.store.remove_schedule(found.id, viewer)
        self.timetable.look()
        await self.submitting.files.remove(found.id)
        log.info("schedule.removed", schedule=found.id, owner=found.owner)

    async def run(self, viewer: Viewer, schedule_id: str, key: str | None) -> Accepted:
        """Accept its job now, paused or not. For its own owner alone: what it makes is a job of his.

        Raises NoSuchScheduleError, and as `Intake.accept` and `Submitting` do.
        """
        earlier = None
        if key is not None:
            # Before it is looked for: it may have been removed since the answer was lost.
            digest = digest_of_run(schedule_id)
            earlier = await self.store.accepted_before(viewer.principal, key, digest)
        if earlier is not None:
            return Accepted(earlier, is_replay=True)
        found = await self.find(Viewer(viewer.principal), schedule_id)
        return await self.intake.accept(found.owner, await self.submitting.by_hand(found, key))

    async def pause(self, viewer: Viewer, schedule_id: str) -> Schedule:
        """Nothing is due of it until it is resumed. Raises NoSuchScheduleError, StoreUnavailableError."""
        return await self._change(viewer, schedule_id, pause)

    async def resume(self, viewer: Viewer, schedule_id: str) -> Schedule:
        """What passed meanwhile is not made up for. Raises NoSuchScheduleError, StoreUnavailableError."""
        now = self.intake.clock.now()
        return await self._change(viewer, schedule_id, lambda found: resume(found, now))

    async def _change(
        self, viewer: Viewer, schedule_id: str, change: Callable[[Schedule], Schedule]
    ) -> Schedule:
        def decide(found: Schedule) -> tuple[Schedule, dict[str, NewEvent]]:
            return change(found), {}

        changed = await self.store.change_schedule(schedule_id, viewer, decide)
        if changed is None:
            raise NoSuchScheduleError(schedule_id)
        self.timetable.look()
        return changed

    async def _check(self, body: object) -> tuple[ScheduleRequest, JobSpec]:
        asked, faults = read_schedule(body)
        try:
            spec = await self.intake.check(asked.spec)
        except SpecRefusedError as refused:
            known = {fault.field for fault in faults}
            faults += [fault for fault in map(place_in_schedule, refused.faults) if fault.field not in known]
            raise ScheduleRefusedError(faults) from None
        if faults:
            raise ScheduleRefusedError(faults)
        return asked, spec

    async def _remove_unless_rowed(self, schedule_id: str, viewer: Viewer) -> None:
        # A write that failed may have been done all the same (its answer was lost): then the file is that row's.
        try:
            if await self.store.schedule(schedule_id, viewer) is None:
                await self.submitting.files.remove(schedule_id)
        except StoreUnavailableError:
            log.warning("file.left_to_the_sweep", schedule=schedule_id)
