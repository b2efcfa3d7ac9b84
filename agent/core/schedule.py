"""core/schedule — a schedule as a value, and what of it is due. Pure: a row and the time in; a decision, or the next row, out.

What is due is derived, never stored: the minutes of its cron after `since`, the last minute that was dealt with. Each of them ends in
exactly one of `fired`, `skipped` (the job before it had not ended) and `missed`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid5

from agent.core.chute import Version
from agent.spec import count_between, latest_until, next_after, next_few, tidy_cron

# A minute that is longer ago is not made up for, unless the schedule asks for that.
LATE_SECONDS = 60
# A row that is so far ahead of the clock was written while the clock was wrong; nearer, the clock has been set back a little.
AHEAD_SECONDS = 3_600
_OF_FUNCTIONS = UUID("5c9f3d1e-8a47-5c0b-9d35-3f6a1c7b20e4")


@dataclass(frozen=True, slots=True)
class OfFunction:
    """What the decorator of a chute's function asks for. It lives as long as the function has it."""

    chute: str
    function: str


@dataclass(frozen=True, slots=True)
class OfContainer:
    """A job spec as it may be shown: its secrets lie in a file. None: it was not read, as in lists, where each may be a megabyte."""

    spec: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Started:
    """The last job of a schedule. `due`: its minute; None: somebody ran it by hand."""

    due: float | None
    job: str
    at: float


@dataclass(frozen=True, slots=True)
class ScheduleTrouble:
    """Why its last due minute was no job's."""

    code: str
    message: str
    remedy: str
    at: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """One row. `since`: the minutes that count come after it. `seed` makes the ids of its jobs: nobody can guess them, and take them.

    `told_job`: the last job that was told that it holds up minutes.
    """

    id: str
    owner: str
    name: str
    what: OfFunction | OfContainer
    cron: str
    created_at: float
    since: float
    seed: str
    catch_up: bool = False
    paused: bool = False
    last: Started | None = None
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    trouble: ScheduleTrouble | None = None
    told_job: str | None = None
    seq: int = 0
    version: int = 0

    def job_of(self, due: float) -> str:
        """The id of the job of that minute, however often it is asked for."""
        return str(uuid5(UUID(self.seed), f"{due:.0f}"))


@dataclass(frozen=True, slots=True)
class Timed:
    """Of a schedule what says when it is due next."""

    id: str
    owner: str
    cron: str
    since: float


@dataclass(frozen=True, slots=True)
class Firing:
    """That a job is accepted for a schedule. `due` None: somebody runs it by hand, whatever its row is. Else only the row that was
    looked at fires: `seq` and `version` say which. (A function's schedule has its id again when it was removed and comes back.)
    """

    schedule: str
    due: float | None = None
    version: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due before `until`."""

    until: float


@dataclass(frozen=True, slots=True)
class Due:
    """A job is to be started for `minute`, and no earlier one is left."""

    minute: float


@dataclass(frozen=True, slots=True)
class Missed:
    """`count` minutes passed, the last of them `minute`, and no job is started for any."""

    minute: float
    count: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """The row is of a time that has not come: it begins anew."""


def look(schedule: Schedule, now: float) -> Wait | Due | Missed | Ahead:
    """What is due of one that is not paused."""
    if schedule.since - now >= AHEAD_SECONDS:
        return Ahead()
    minute = latest_until(schedule.cron, now)
    if minute <= schedule.since:
        return Wait(next_after(schedule.cron, max(now, schedule.since)))
    count = count_between(schedule.cron, schedule.since, minute)
    if not schedule.catch_up and now - minute > LATE_SECONDS:
        return Missed(minute, count)
    if count > 1:
        # By themselves, and first: the latest one may be refused for a long time, and these are over.
        return Missed(latest_until(schedule.cron, minute - 1), count - 1)
    return Due(minute)


def next_of(timed: Timed, now: float) -> float:
    """When to look at it: now, where something of it may be due."""
    if timed.since - now >= AHEAD_SECONDS:
        return now
    return next_after(timed.cron, timed.since)


def next_minutes(schedule: Schedule, now: float, count: int) -> tuple[float, ...]:
    """The first that come, as far as one knows; none of one that is paused."""
    if schedule.paused:
        return ()
    is_ahead = schedule.since - now >= AHEAD_SECONDS
    return next_few(schedule.cron, now if is_ahead else max(now, schedule.since), count)


def fire(schedule: Schedule, firing: Firing, job: str, at: float) -> Schedule:
    """A job was accepted for it."""
    if firing.due is None:
        return replace(schedule, last=Started(None, job, at))
    return replace(
        schedule,
        since=firing.due,
        last=Started(firing.due, job, at),
        fired=schedule.fired + 1,
        trouble=None,
    )


def skip(schedule: Schedule, due: Due, job: str) -> Schedule:
    """That job of it, an earlier one, has not ended."""
    return replace(schedule, since=due.minute, skipped=schedule.skipped + 1, told_job=job)


def miss(schedule: Schedule, missed: Missed, trouble: ScheduleTrouble | None = None) -> Schedule:
    """Nobody was there, or `trouble` kept a job from being accepted."""
    return replace(
        schedule,
        since=missed.minute,
        missed=schedule.missed + missed.count,
        trouble=trouble or schedule.trouble,
    )


def begin_anew(schedule: Schedule, now: float) -> Schedule:
    """From `now` on. Its minutes may have had jobs already, of a clock that was ahead: so their ids are others from now on."""
    return replace(schedule, since=now, seed=str(uuid5(UUID(schedule.seed), "again")))


def pause(schedule: Schedule) -> Schedule:
    return replace(schedule, paused=True)


def resume(schedule: Schedule, now: float) -> Schedule:
    """What passed meanwhile is not made up for."""
    if not schedule.paused:
        return schedule
    return replace(_from_now(schedule, now), paused=False)


def of_version(version: Version, before: Sequence[Schedule], now: float) -> Iterator[Schedule]:
    """All schedules of a chute whose current version this is. `before`: those that it had; what goes on of them stays."""
    known = {each.id: each for each in before}
    for function, cron in crons_of(version).items():
        schedule_id = id_of_function(version.owner, str(version.chute), function)
        found = known.get(schedule_id)
        if found is None:
            yield _first(version, schedule_id, function, now)
        elif found.cron == cron:
            yield replace(found, catch_up=version.catch_up)
        else:
            yield replace(_from_now(found, now), catch_up=version.catch_up, cron=cron)


def crons_of(version: Version) -> dict[str, str]:
    """By its function's registered name each schedule that the file declares."""
    jobs = () if version.manifest is None else version.manifest.jobs
    return {job.name: tidy_cron(job.schedule) for job in jobs if job.schedule is not None}


def id_of_function(owner: str, chute: str, function: str) -> str:
    """One a function, whatever the version. No name of the three has a NUL."""
    return str(uuid5(_OF_FUNCTIONS, f"{owner}\0{chute}\0{function}"))


def _first(version: Version, schedule_id: str, function: str, now: float) -> Schedule:
    chute = str(version.chute)
    return Schedule(
        id=schedule_id,
        owner=version.owner,
        name=f"{chute}/{function}",
        what=OfFunction(chute, function),
        cron=crons_of(version)[function],
        created_at=now,
        since=now,
        seed=str(uuid5(UUID(version.id), function)),
        catch_up=version.catch_up,
    )


def _from_now(schedule: Schedule, now: float) -> Schedule:
    if schedule.since - now >= AHEAD_SECONDS:
        return begin_anew(schedule, now)
    # A clock that was set back a little: what fired before that does not fire again.
    return replace(schedule, since=max(schedule.since, now))
