"""jobs/schedules/firing — what is due of one schedule is done: fired, skipped, missed, refused. Knows no other schedule, and no order.

Each step reads the row, decides by it (`core/schedule`), and writes under its version, so that it can be repeated after whatever death:
a job and the row that says so are one transaction, and the job's id is that of its minute.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from agent.core.event_form import show_time
from agent.core.job import EVERYONE, Job, NewEvent
from agent.core.schedule import (
    Ahead,
    Due,
    Firing,
    Missed,
    Schedule,
    ScheduleTrouble,
    Wait,
    begin_anew,
    look,
    miss,
    skip,
)
from agent.errors import AgentError, Phase
from agent.interfaces import (
    HostKeyNotMadeError,
    NoSuchScheduleError,
    QueueFullError,
    StaleError,
    StateFullError,
    StateReadOnlyError,
    Store,
    StoreUnavailableError,
)
from agent.jobs.intake import Intake
from agent.jobs.schedules.submitting import Submitting

log = structlog.get_logger(__name__)

RETRY_SECONDS = 2.0
MOST_WORDS = 1_000
# What is otherwise a moment later, without anybody's doing to the schedule.
HEALING = (
    HostKeyNotMadeError,
    QueueFullError,
    StateFullError,
    StateReadOnlyError,
    StoreUnavailableError,
)


@dataclass(slots=True)
class Tally:
    """What this daemon has done with due minutes since its start."""

    fired: int = 0
    skipped: int = 0
    missed: int = 0
    failed: int = 0


@dataclass(slots=True, eq=False)
class Firings:
    intake: Intake
    submitting: Submitting
    tally: Tally = field(default_factory=Tally, init=False)

    @property
    def store(self) -> Store:
        """Where the rows are."""
        return self.intake.store

    async def take(self, schedule_id: str) -> float | None:
        """Take it one step further. When to look at it again; None: it is gone, or paused. Raises StoreUnavailableError."""
        schedule = await self.store.schedule(schedule_id, EVERYONE)
        if schedule is None or schedule.paused:
            return None
        now = self.intake.clock.now()
        match look(schedule, now):
            case Wait() as wait:
                return wait.until
            case Ahead():
                await self._keep(schedule, begin_anew(schedule, now))
                log.warning("schedule.began_anew", schedule=schedule.id, since=show_time(schedule.since))
            case Missed() as missed:
                await self._keep(schedule, miss(schedule, missed))
                self.tally.missed += missed.count
                latest = show_time(missed.minute)
                log.warning("schedule.missed", schedule=schedule.id, count=missed.count, latest=latest)
            case Due() as due:
                return await self._fire(schedule, due)
        return now

    async def _fire(self, schedule: Schedule, due: Due) -> float | None:
        before = None if schedule.last is None else await self.store.read(schedule.last.job)
        if before is not None and before.phase is not Phase.FINISHED:
            await self._skip(schedule, due, before)
            return self.intake.clock.now()
        log.debug("schedule.due", schedule=schedule.id, due=show_time(due.minute))
        firing = Firing(schedule.id, due.minute, schedule.version, due.missed)
        try:
            asked = await self.submitting.at_its_minute(schedule, firing)
            accepted = await self.intake.accept(schedule.owner, asked)
        except StaleError:
            return self.intake.clock.now()
        except NoSuchScheduleError:
            return None
        except AgentError as error:
            return await self._fail(schedule, due, error)
        self.tally.fired += 1
        self.tally.missed += due.missed
        minute = show_time(due.minute)
        log.info(
            "schedule.fired", schedule=schedule.id, owner=schedule.owner, due=minute, job=accepted.job.id
        )
        return self.intake.clock.now()

    async def _skip(self, schedule: Schedule, due: Due, before: Job) -> None:
        told = NewEvent("schedule.skipped", {"schedule": schedule.id, "due": show_time(due.minute)})
        await self._keep(schedule, skip(schedule, due), {before.id: told})
        self.tally.skipped += 1
        self.tally.missed += due.missed
        log.info("schedule.skipped", schedule=schedule.id, due=show_time(due.minute), job=before.id)

    async def _fail(self, schedule: Schedule, due: Due, error: AgentError) -> float:
        now = self.intake.clock.now()
        trouble = ScheduleTrouble(error.code, str(error)[:MOST_WORDS], error.remedy, now)
        is_new = schedule.trouble is None or schedule.trouble.code != error.code
        if isinstance(error, HEALING):
            # As long as the minute is not too long ago: `look` says when it is.
            if is_new:
                self._tell_failed(schedule, due, error)
                await self._keep(schedule, replace(schedule, trouble=trouble))
            return now + RETRY_SECONDS
        await self._keep(schedule, miss(schedule, Missed(due.minute, due.missed + 1), trouble))
        self._tell_failed(schedule, due, error)
        self.tally.missed += due.missed + 1
        return now

    def _tell_failed(self, schedule: Schedule, due: Due, error: AgentError) -> None:
        self.tally.failed += 1
        minute = show_time(due.minute)
        log.warning(
            "schedule.failed",
            schedule=schedule.id,
            due=minute,
            code=error.code,
            error=str(error)[:MOST_WORDS],
        )

    async def _keep(
        self, schedule: Schedule, changed: Schedule, told: Mapping[str, NewEvent] | None = None
    ) -> None:
        """Where somebody else wrote first, nothing: it is looked at again."""

        def decide(found: Schedule) -> tuple[Schedule, Mapping[str, NewEvent]]:
            return (changed, told or {}) if found.version == schedule.version else (found, {})

        await self.store.change_schedule(schedule.id, EVERYONE, decide)
