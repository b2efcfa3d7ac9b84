"""jobs/schedules/firing — what is due of one schedule is done: fired, skipped, missed, refused. Knows no other schedule, and no order.

Each step reads the row, decides by it (`core/schedule`), and writes under its version, so that it can be repeated after whatever death:
a job and the row that says so are one transaction, and the job's id is that of its minute.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from agent.core.event_form import show_time
from agent.core.job import EVERYONE, NewEvent
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
from agent.errors import AgentError
from agent.interfaces import (
    Accepted,
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
from agent.spec import next_after

log = structlog.get_logger(__name__)

# What was refused and may heal is tried again so much later, and later as its minute grows old.
PUT_OFF_SECONDS, MOST_SECONDS = 10.0, 600.0
QUEUE_IS_FULL = "as many of your jobs are queued as may be"
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
    _full_until: dict[str, float] = field(default_factory=dict, init=False)

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
        # Who starts one by hand from now on makes this row another version, which does not fire.
        before = await self.store.unfinished_of_schedule(schedule.id)
        if before is not None:
            await self._skip(schedule, due, before)
            return self.intake.clock.now()
        log.debug("schedule.due", schedule=schedule.id, due=show_time(due.minute))
        try:
            accepted = await self._accept(schedule, due)
        except StaleError:
            return self.intake.clock.now()
        except NoSuchScheduleError:
            return None
        except AgentError as error:
            return await self._fail(schedule, due, error)
        self.tally.fired += 1
        minute = show_time(due.minute)
        log.info(
            "schedule.fired", schedule=schedule.id, owner=schedule.owner, due=minute, job=accepted.job.id
        )
        return self.intake.clock.now()

    async def _accept(self, schedule: Schedule, due: Due) -> Accepted:
        # A try makes a folder and removes it: one is enough for all that the owner has due.
        if self.intake.clock.boot_seconds() < self._full_until.get(schedule.owner, 0.0):
            raise QueueFullError(QUEUE_IS_FULL)
        firing = Firing(schedule.id, due.minute, schedule.version, schedule.seq)
        asked = await self.submitting.at_its_minute(schedule, firing)
        try:
            return await self.intake.accept(schedule.owner, asked)
        except QueueFullError:
            self._full_until[schedule.owner] = self.intake.clock.boot_seconds() + PUT_OFF_SECONDS
            raise

    async def _skip(self, schedule: Schedule, due: Due, before: str) -> None:
        minute = show_time(due.minute)
        # Once a job: one that waits for days would gather an event each minute. The row has the number.
        told = NewEvent("schedule.skipped", {"schedule": schedule.id, "due": minute})
        events = {} if schedule.told_job == before else {before: told}
        await self._keep(schedule, skip(schedule, due, before), events)
        self.tally.skipped += 1
        log.info("schedule.skipped", schedule=schedule.id, due=minute, job=before)

    async def _fail(self, schedule: Schedule, due: Due, error: AgentError) -> float:
        now = self.intake.clock.now()
        trouble = ScheduleTrouble(error.code, str(error)[:MOST_WORDS], error.remedy, now)
        earlier = schedule.trouble
        is_told = earlier is not None and earlier.code == error.code and earlier.at >= due.minute
        if not is_told:
            self._tell_failed(schedule, due, error)
        if not isinstance(error, HEALING):
            await self._keep(schedule, miss(schedule, Missed(due.minute, 1), trouble))
            self.tally.missed += 1
            return now
        if not is_told:
            await self._keep(schedule, replace(schedule, trouble=trouble))
        # Until `look` says that its minute is too long ago; of one that catches up it never is. The next minute is not waited over.
        pause = min(MOST_SECONDS, max(PUT_OFF_SECONDS, (now - due.minute) / 6))
        return min(now + pause, next_after(schedule.cron, now))

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
            is_same = (found.seq, found.version) == (schedule.seq, schedule.version)
            return (changed, told or {}) if is_same else (found, {})

        await self.store.change_schedule(schedule.id, EVERYONE, decide)
