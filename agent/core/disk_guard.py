"""core/disk_guard — whom the disk guard stops before the host is full, and when it looks. Pure; measures nothing.

Two lines. At FLOOR_BYTES reservations of quotas end, and the guard begins to measure what jobs hold, so that it knows who grows
by the time it has to act. At LINE_BYTES, which no reservation reaches, it acts: who writes 2 GB a second needs half a second for
the gigabyte between the two.

A disk that is low and does not fall is nobody's fault now: finished jobs' outputs or the host's own files may hold it so for days,
and to stop one innocent after the other would help nobody.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from agent.core.disk_space import Held, Spaces, Where
from agent.core.job import Job, Now
from agent.errors import Phase

# What reservations leave of the disk: for the database, logs, images and jobs without a quota.
FLOOR_BYTES = 2 << 30
LINE_BYTES = 1 << 30
# So much less (or more) free than at the last measurement is worth the next: measuring walks through folders.
STEP_BYTES = 32 << 20
# What a job may grow by unblamed, while most of the fall is not the jobs'.
TRIFLE_BYTES = 4 << 20
# Who grew by less than this part of what the fastest did is not who fills the disk, however much he holds.
NOTABLE_PART = 4
# The jobs' growth must be this part of the fall, or the disk is filled by somebody else.
BLAMED_PART = 4

# What a fast disk takes. By it the next look comes before the floor is reached.
FASTEST_BYTES_A_SECOND = 4 << 30
MOST_PAUSE_SECONDS, LEAST_PAUSE_SECONDS = 5.0, 0.2
# Each second of a grace may be gigabytes; where less would be left than half of what is free, it is shorter.
MOST_GRACE_SECONDS = 2.0
# How many measurements one that was asked to end has, before another is stopped in spite of it.
PATIENCE = 2


@dataclass(frozen=True, slots=True)
class Measurement:
    """`held` None: only a look at what is free. By job; a job that could not be measured is not in it. `at`: monotonic."""

    at: float
    spaces: Spaces
    held: Mapping[str, Mapping[Where, Held]] | None = None


@dataclass(frozen=True, slots=True)
class Offender:
    """Whom to stop, and why him. `where`: what of the host he filled, on the disk that is low."""

    job: str
    where: frozenset[Where]
    held_bytes: int
    grown_bytes: int
    free_bytes: int
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered from look to look. `asked`: who was asked to end last, and for how many measurements he has been."""

    last: Measurement | None = None
    asked: str | None = None
    patience: int = 0


def may_write(job: Job) -> bool:
    """Whether its container may run now, also in the grace of a stop."""
    return job.phase in {Phase.RUNNING, Phase.STOPPING} and job.run.exit is None and job.container is not None


def may_be_stopped(job: Job, now: Now) -> bool:
    """Not who ends soon anyway. The grace that a cancel or a timeout gave counts for nothing here: it may be an hour."""
    return may_write(job) and (job.kill_at is None or now.until(job.kill_at) > MOST_GRACE_SECONDS)


def seconds_to_next_look(spaces: Spaces) -> float:
    """Rarely where there is much room, since nobody uses that up so soon."""
    if not spaces:
        return MOST_PAUSE_SECONDS
    room = min(space.free_bytes for space in spaces.values()) - FLOOR_BYTES
    return max(LEAST_PAUSE_SECONDS, min(MOST_PAUSE_SECONDS, room / FASTEST_BYTES_A_SECOND))


def low(spaces: Spaces, line_bytes: int = FLOOR_BYTES) -> frozenset[Where]:
    return frozenset(where for where, space in spaces.items() if space.free_bytes < line_bytes)


def look(watch: Watch, seen: Measurement) -> tuple[Watch, frozenset[Where]]:
    """After a look: what is to be measured now. Nothing, where there is room, or where it is as at the last measurement."""
    wanted = low(seen.spaces)
    if not wanted:
        return Watch(last=seen), frozenset()
    last = watch.last
    if last is not None and last.held is not None and low(last.spaces) == wanted:
        changed = (abs(_fall(last, seen, where)) for where in wanted)
        if max(changed) < STEP_BYTES:
            return watch, frozenset()
    return watch, wanted


def judge(
    watch: Watch, measured: Measurement, running: AbstractSet[str], stoppable: AbstractSet[str]
) -> tuple[Watch, Offender | None]:
    """After a measurement. `running`: whose container may run. One is stopped at a time: the next not before the first is gone,
    or has had his patience.
    """
    last = watch.last
    if watch.asked is not None and watch.asked not in running:
        # What fell until now was his. From here on both measurements are of a time without him.
        return Watch(last=measured), None
    if watch.asked is not None and watch.patience > 0:
        return replace(watch, last=measured, patience=watch.patience - 1), None
    offender = choose(last, measured, stoppable) if last is not None else None
    if offender is None:
        return replace(watch, last=measured), None
    return Watch(last=measured, asked=offender.job, patience=PATIENCE), offender


def choose(before: Measurement, after: Measurement, stoppable: AbstractSet[str]) -> Offender | None:
    """Of those who grew on a disk that is low and falls: who holds most there. The fullest disk first."""
    disks: dict[int, set[Where]] = {}
    for where, space in after.spaces.items():
        disks.setdefault(space.device, set()).add(where)
    fullest_first = sorted(disks.values(), key=lambda wheres: _free(after, wheres))
    found = (_choose_on(frozenset(wheres), before, after, stoppable) for wheres in fullest_first)
    return next((offender for offender in found if offender is not None), None)


def _choose_on(
    wheres: frozenset[Where], before: Measurement, after: Measurement, stoppable: AbstractSet[str]
) -> Offender | None:
    free = _free(after, wheres)
    fall = max(_fall(before, after, where) for where in wheres)
    if free >= LINE_BYTES or fall < STEP_BYTES:
        return None
    grown = {job: _growth(job, wheres, before, after) for job in (after.held or {}) if job in stoppable}
    notable = _notable(grown, fall)
    if not notable:
        return None
    worst = max(notable, key=lambda job: (_held(job, wheres, after).bytes, grown[job], job))
    seconds = max(after.at - before.at, 0.001)
    return Offender(
        worst,
        frozenset(where for where in wheres if _held(worst, [where], after).bytes > 0),
        _held(worst, wheres, after).bytes,
        grown[worst],
        free,
        min(MOST_GRACE_SECONDS, free / 2 / (fall / seconds)),
    )


def _notable(grown: Mapping[str, int], fall: int) -> list[str]:
    """Who grew enough to be blamed for the fall; nobody where it is mostly somebody else's."""
    total = sum(growth for growth in grown.values() if growth > 0)
    most = max(grown.values(), default=0)
    if total * BLAMED_PART < fall or most <= 0:
        return []
    if most < TRIFLE_BYTES and total * 2 < fall:
        return []
    return [job for job, growth in grown.items() if growth > 0 and growth * NOTABLE_PART >= most]


def _growth(job: str, wheres: Iterable[Where], before: Measurement, after: Measurement) -> int:
    """0 where it is not known.

    Where nothing was measured before, the disk fell over both lines between two looks, as by one fallocate: all counts that
    changed since then. A walk that was cut short is compared with one that saw as many entries, or more.
    """
    now = _held(job, wheres, after)
    if before.held is None:
        return now.fresh_bytes
    if job not in before.held:
        return 0
    then = _held(job, wheres, before)
    if not (now.is_whole and then.is_whole) and now.entries > then.entries:
        return 0
    return max(0, now.bytes - then.bytes)


def _held(job: str, wheres: Iterable[Where], measured: Measurement) -> Held:
    of_job = (measured.held or {}).get(job, {})
    return sum((of_job[where] for where in wheres if where in of_job), Held())


def _free(measured: Measurement, wheres: Iterable[Where]) -> int:
    return min(measured.spaces[where].free_bytes for where in wheres)


def _fall(before: Measurement, after: Measurement, where: Where) -> int:
    """0 where nothing is known of before, or it is another disk by now."""
    then, now = before.spaces.get(where), after.spaces[where]
    return then.free_bytes - now.free_bytes if then is not None and then.device == now.device else 0


def say_why(offender: Offender) -> str:
    """For the job's reason."""
    folders = {Where.OUTPUTS: "in its output folder", Where.LAYER: "in its container's own files"}
    places = " and ".join(folders[where] for where in sorted(offender.where, reverse=True))
    return (
        f"the host's disk was nearly full ({_size(offender.free_bytes)} free), and the job held "
        f"{_size(offender.held_bytes)} of it {places}, {_size(offender.grown_bytes)} more than just before"
    )


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
