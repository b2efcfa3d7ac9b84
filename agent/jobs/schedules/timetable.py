"""jobs/schedules/timetable — which schedule is due next, and the standing task that waits for it. What is then done is `firing`'s.

Kept of each is when it is due next, so that a thousand idle ones cost nothing; the rows are read again when one changed, or the clock did.
"""

import asyncio
from dataclasses import dataclass

import structlog

from agent.aio import Flag, spawn
from agent.core.schedule import Timed, next_of
from agent.core.shortage import is_shortage
from agent.errors import AgentError
from agent.interfaces import Clock, Store
from agent.jobs.schedules.calendar import Calendar
from agent.jobs.schedules.firing import PUT_OFF_SECONDS, Firings, Tally
from agent.spec import CronUnreadableError

log = structlog.get_logger(__name__)

# A step of the clock is noticed so soon.
LOOK_SECONDS = 5.0
STEP_SECONDS = 1.0
# One that waits for a slow GPU driver, say, holds up no other; those of one owner that all wait hold up the rest so long at most.
AT_ONCE, TAKE_SECONDS = 4, 20.0
RETRY_SECONDS = 2.0
# After a defect of ours.
BROKEN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """`timed`: what `next` was made of."""

    timed: Timed
    next: float


class Timetable:
    """Standing task `watch`."""

    def __init__(self, store: Store, firings: Firings, clock: Clock) -> None:
        self._store = store
        self._firings = firings
        self._clock = clock
        self._flag = Flag()
        self._is_stale = True
        self._stale_since: float | None = None
        self._entries: dict[str, Entry] = {}
        self._calendar = Calendar()
        self._offset: float | None = None

    @property
    def tally(self) -> Tally:
        """Of this daemon's life."""
        return self._firings.tally

    @property
    def count(self) -> int:
        """How many are waited for."""
        return len(self._entries)

    @property
    def overdue(self) -> int:
        """How many of them were due before now, and wait for somebody to deal with them."""
        now = self._clock.now()
        return sum(entry.next <= now for entry in self._entries.values())

    def seconds_behind(self) -> float:
        """How long ago the first one was due that nobody has dealt with."""
        first = self._calendar.first()
        return 0.0 if first is None else max(0.0, self._clock.now() - first)

    def seconds_unread(self) -> float:
        """How long ago a schedule was made, changed or removed that this knows nothing of yet."""
        return 0.0 if self._stale_since is None else self._clock.boot_seconds() - self._stale_since

    def seconds_ahead(self) -> float:
        """How far ahead of the clock the row is that is furthest: so long its schedule is silent."""
        now = self._clock.now()
        return max((entry.timed.since - now for entry in self._entries.values()), default=0.0)

    def look(self) -> None:
        """A schedule was made, changed or removed."""
        self._is_stale = True
        if self._stale_since is None:
            self._stale_since = self._clock.boot_seconds()
        self._flag.set()

    async def watch(self) -> None:
        """Deal with each minute as it comes, and with those that passed."""
        while True:
            self._flag.clear()
            try:
                await self.take_due()
                pause = self._pause()
            except AgentError as error:
                log.info("schedules.put_off", code=error.code, error=str(error))
                pause = RETRY_SECONDS
            await self._flag.wait(pause)

    async def take_due(self) -> None:
        """One look; what is still due after LOOK_SECONDS is the next one's. Raises StoreUnavailableError."""
        if self._has_stepped():
            self._entries.clear()
            self._is_stale = True
        if self._is_stale:
            await self._read()
        if self._is_due():
            until = self._clock.boot_seconds() + LOOK_SECONDS
            async with asyncio.TaskGroup() as group:
                for number in range(AT_ONCE):
                    spawn(group, self._work(until), f"schedules {number}")

    async def _read(self) -> None:
        # Before the rows: what changes meanwhile is read again.
        self._is_stale, since, self._stale_since = False, self._stale_since, None
        try:
            rows = await self._store.timed_schedules()
        except BaseException:
            self._is_stale, self._stale_since = True, since
            raise
        entries = {}
        for timed in rows:
            known = self._entries.get(timed.id)
            if known is None or known.timed != timed:
                known = Entry(timed, self._next_of(timed))
                await asyncio.sleep(0)  # a thousand rare ones take a while, and the loop is everybody's
            entries[timed.id] = known
        self._entries = entries
        # Who has waited longest has the first turn, however often this is made anew.
        dates = ((entry.timed.owner, entry.next, schedule_id) for schedule_id, entry in entries.items())
        self._calendar = Calendar(sorted(dates, key=lambda date: date[1]))

    def _next_of(self, timed: Timed) -> float:
        try:
            return next_of(timed, self._clock.now())
        except Exception:
            # A damaged row: it ends no other schedule, and not the daemon.
            log.exception("schedule.broke", schedule=timed.id)
            return self._clock.now() + BROKEN_SECONDS

    async def _work(self, until: float) -> None:
        while (schedule_id := self._calendar.pop_due(self._clock.now())) is not None:
            when = await self._take(schedule_id)
            timed = self._entries.pop(schedule_id).timed
            if when is not None:
                self._entries[schedule_id] = Entry(timed, when)
                self._calendar.add(timed.owner, when, schedule_id)
            # After the first one, so that who changes schedules all the time keeps none from being taken.
            if self._is_stale or self._clock.boot_seconds() >= until:
                break

    async def _take(self, schedule_id: str) -> float | None:
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                return await self._firings.take(schedule_id)
        except TimeoutError:
            log.warning("schedule.put_off", schedule=schedule_id, code="too_slow")
            return self._clock.now() + PUT_OFF_SECONDS
        except CronUnreadableError:  # a damaged row, which no time mends
            log.exception("schedule.broke", schedule=schedule_id)
            return self._clock.now() + BROKEN_SECONDS
        except AgentError as error:
            log.info("schedule.put_off", schedule=schedule_id, code=error.code, error=str(error))
            return self._clock.now() + RETRY_SECONDS
        except Exception as error:
            if is_shortage(error):
                log.warning("schedule.put_off", schedule=schedule_id, code="host_short", error=str(error))
                return self._clock.now() + RETRY_SECONDS
            # A defect of ours: it ends no other schedule, and not the daemon.
            log.exception("schedule.broke", schedule=schedule_id)
            return self._clock.now() + BROKEN_SECONDS

    def _is_due(self) -> bool:
        first = self._calendar.first()
        return first is not None and first <= self._clock.now()

    def _pause(self) -> float:
        if self._is_stale:
            return 0.0
        first = self._calendar.first()
        return LOOK_SECONDS if first is None else min(LOOK_SECONDS, max(0.0, first - self._clock.now()))

    def _has_stepped(self) -> bool:
        """Whether the wall clock was set since the last look: the host's other clock takes no steps."""
        offset = self._clock.now() - self._clock.boot_seconds()
        before, self._offset = self._offset, offset
        if before is None or abs(offset - before) < STEP_SECONDS:
            return False
        log.warning("clock.stepped", seconds=round(offset - before, 3))
        return True
