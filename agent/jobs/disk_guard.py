"""jobs/disk_guard — the disks that jobs fill: looked at often, measured where they are low, and who fills one is asked to end. Frees nothing itself."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from agent.core.disk_guard import (
    Measurement,
    Offender,
    Watch,
    judge,
    look,
    low,
    may_be_stopped,
    may_write,
    say_why,
    seconds_to_next_look,
)
from agent.core.disk_space import CountLimits, Held, Spaces, Where
from agent.core.job import EVERYONE, Job, NewEvent, StopCause
from agent.core.shortage import is_shortage
from agent.core.stop_requests import request_attempt_stop
from agent.errors import AgentError
from agent.interfaces import Clock, Engine, EngineUnavailableError, Folders, JobFolderMissingError, Store
from agent.jobs.moment import now_of

log = structlog.get_logger()

RETRY_SECONDS = 1.0
# Of one measurement, over all jobs, whatever they made: some tenths of a second.
MOST_ENTRIES = 60_000
MOST_SECONDS_A_FOLDER = 1.0
# The engine answers such a question in milliseconds, or not in time.
ENGINE_SECONDS = 3.0
# The kernel stamps files by a clock that stands still for up to a tick.
STAMP_SECONDS = 0.1
RECENT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class DiskView:
    """For /health. `spaces` is empty before the first look; a disk that can't be seen from here is not in it."""

    spaces: Spaces
    stopped_lately: int


@dataclass(slots=True)
class _Budget:
    """Entries that may still be counted, and how many folders are to share them: what one does not need is the others'."""

    entries: int
    folders: int

    def take(self) -> int:
        share = self.entries // max(1, self.folders)
        self.folders -= 1
        return share

    def used(self, entries: int) -> None:
        self.entries -= entries


@dataclass(slots=True)
class _Seen:
    """Of the last look or measurement that counts. `wall`: when it was; `entries`: how many each folder had."""

    watch: Watch = field(default_factory=Watch)
    wall: float = 0.0
    entries: dict[tuple[str, Where], int] = field(default_factory=dict)


class DiskGuard:
    """Standing task `watch`."""

    def __init__(
        self, engine: Engine, folders: Folders, store: Store, clock: Clock, poke: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._folders = folders
        self._store = store
        self._clock = clock
        self._poke = poke
        self._seen = _Seen()
        self._spaces: Spaces = {}
        self._stopped_at: deque[float] = deque(maxlen=1000)

    def view(self) -> DiskView:
        since = self._clock.boot_seconds() - RECENT_SECONDS
        return DiskView(self._spaces, sum(at >= since for at in self._stopped_at))

    async def watch(self) -> None:
        """Look at what is free, the more often the less it is."""
        while True:
            try:
                await self._guard()
                pause = seconds_to_next_look(self._spaces)
            except AgentError as error:
                # The database or the engine is away: who fills the disk is found at the next look.
                log.warning("disk_guard.put_off", code=error.code, error=str(error))
                pause = RETRY_SECONDS
            except OSError as error:
                log.warning("disk_guard.put_off", error=str(error))
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _guard(self) -> None:
        wall, spaces = self._clock.now(), await self._look()
        self._tell_change(spaces)
        self._spaces = spaces
        seen = Measurement(asyncio.get_running_loop().time(), spaces)
        watch, wanted = look(self._seen.watch, seen)
        if not wanted:
            if watch is not self._seen.watch:
                self._seen = _Seen(watch, wall)
            return
        jobs = [job for job in await self._store.unfinished() if may_write(job)]
        held = await self._measure(jobs, wanted)
        measured = replace(seen, held=held, took=asyncio.get_running_loop().time() - seen.at)
        now = now_of(self._clock)
        running = frozenset(job.id for job in jobs)
        stoppable = frozenset(job.id for job in jobs if may_be_stopped(job, now))
        watch, offender = judge(watch, measured, running, stoppable)
        if offender is not None:
            await self._stop(offender, {job.id: job.attempt for job in jobs}[offender.job])
        # Only now: a request that could not be written is made again by the next look.
        self._seen.watch, self._seen.wall = watch, wall

    async def _look(self) -> Spaces:
        spaces = {Where.OUTPUTS: await self._folders.space()}
        try:
            at_engine = await self._engine.space()
        except EngineUnavailableError:
            at_engine = None  # asked again at the next look
        return spaces if at_engine is None else {**spaces, Where.LAYER: at_engine}

    async def _measure(
        self, jobs: Sequence[Job], wanted: frozenset[Where]
    ) -> Mapping[str, Mapping[Where, Held]]:
        """Of the places that are low. Those that had few entries come first, so that a bomb of files hides nobody but its maker."""
        folders = [(job, where) for job in jobs for where in sorted(wanted)]
        folders.sort(key=lambda one: self._seen.entries.get((one[0].id, one[1]), 0))
        budget = _Budget(MOST_ENTRIES, len(folders))
        held: dict[str, dict[Where, Held]] = {}
        self._seen.entries = {}
        for job, where in folders:
            limits = CountLimits(budget.take(), MOST_SECONDS_A_FOLDER, self._seen.wall - STAMP_SECONDS)
            counted = await self._count(job, where, limits)
            if counted is not None:
                budget.used(counted.entries)
                self._seen.entries[job.id, where] = counted.entries
                held.setdefault(job.id, {})[where] = counted
        return held

    async def _count(self, job: Job, where: Where, limits: CountLimits) -> Held | None:
        """None: it can't be told now."""
        try:
            if where is Where.OUTPUTS:
                return await self._folders.held(job.id, limits)
            async with asyncio.timeout(ENGINE_SECONDS):
                return await self._engine.held(job.container or "", limits)
        except (JobFolderMissingError, OSError) as error:
            if is_shortage(error):
                raise  # or those that could be measured would be taken for the worst
            # In no time, or what the disk says of this very folder.
            log.debug("disk_guard.not_measured", job=job.id, where=where, error=repr(error))
        except AgentError as error:
            log.info("disk_guard.not_measured", job=job.id, where=where, code=error.code, error=str(error))
        return None

    async def _stop(self, offender: Offender, attempt: int) -> None:
        """A later attempt, or a container that has ended meanwhile, is not stopped for it."""

        def decide(job: Job) -> tuple[Job, list[NewEvent]]:
            if job.attempt != attempt or not may_write(job):
                return job, []
            now = now_of(self._clock)
            kill_at = now.after(offender.grace_seconds)
            return request_attempt_stop(job, StopCause.DISK_GUARD, now.wall, kill_at, say_why(offender))

        asked = await self._store.change(offender.job, EVERYONE, decide)
        if asked is None or asked.attempt != attempt or not may_write(asked):
            return
        self._stopped_at.append(self._clock.boot_seconds())
        self._poke(offender.job)
        log.warning(
            "disk_guard.stopped",
            job=offender.job,
            where=sorted(where.value for where in offender.where),
            unit=offender.unit.value,
            held=offender.held,
            grown=offender.grown,
            free=offender.free,
            is_sampled=offender.is_sampled,
            grace=round(offender.grace_seconds, 3),
        )

    def _tell_change(self, spaces: Spaces) -> None:
        before, now = low(self._spaces), low(spaces)
        for where in now - before:
            space = spaces[where]
            log.warning(
                "disk_guard.low", where=where, free_bytes=space.free_bytes, free_files=space.free_files
            )
        for where in before - now:
            log.info("disk_guard.has_room", where=where)
