"""core/disk_guard — whom the disk guard stops before the host is full, and when it looks. Pure; measures nothing.

Two lines. At FLOOR_BYTES reservations of quotas end, and the guard begins to measure what jobs hold, so that it knows who grows
by the time it has to act. At LINE_BYTES, which no reservation reaches, it acts: who writes 2 GB a second needs half a second for
the gigabyte between the two. What falls while jobs are measured counts, or a busy host would act too late. Inodes are worth bytes here (core/disk_space), so lines, steps and paces are theirs, too.

A disk that is low and does not fall is nobody's fault now: finished jobs' outputs or the host's own files may hold it so for days,
and to stop one innocent after the other would help nobody.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from agent.core.disk_growth import Growth, between, since_unmeasured
from agent.core.disk_space import INODE_BYTES, Held, Spaces, Unit, Where
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
# Each second of a grace may be gigabytes; where less would be left than half of what was free, it is shorter.
MOST_GRACE_SECONDS = 2.0
# How many measurements one that was asked to end has, before another is stopped in spite of it.
PATIENCE = 2

_MAY_RUN = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING})


@dataclass(frozen=True, slots=True)
class Measurement:
    """`held` None: only a look at what is free. By job; a job that could not be measured is not in it. `at`: monotonic, of the look;
    `took`: how long after it all were counted.
    """

    at: float
    spaces: Spaces
    held: Mapping[str, Mapping[Where, Held]] | None = None
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Offender:
    """Whom to stop, and why him. `where`: what of the host he filled, on the disk that is low in `unit`, in which `held`, `grown` and
    `free` are. `is_sampled`: what he held and grew by is what was seen of it, and that is not all.
    """

    job: str
    where: frozenset[Where]
    unit: Unit
    held: int
    grown: int
    free: int
    grace_seconds: float
    is_sampled: bool = False


@dataclass(frozen=True, slots=True)
class _Pool:
    """What jobs use up together: the bytes of a disk, or its inodes."""

    wheres: frozenset[Where]
    unit: Unit


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered from look to look. `asked`: who was asked to end last, and for how many measurements he has been."""

    last: Measurement | None = None
    asked: str | None = None
    patience: int = 0


def may_write(job: Job) -> bool:
    """Whether its container may run now: also in the grace of a stop, and from the start intent on. A program that takes the disk with
    its first call has done so before the engine's answer to the start is in the row.
    """
    return job.phase in _MAY_RUN and job.run.exit is None and job.container is not None


def may_be_stopped(job: Job, now: Now) -> bool:
    """Not who ends soon anyway. The grace that a cancel or a timeout gave counts for nothing here: it may be an hour."""
    return may_write(job) and (job.kill_at is None or now.until(job.kill_at) > MOST_GRACE_SECONDS)


def seconds_to_next_look(spaces: Spaces) -> float:
    """Rarely where there is much room, since nobody uses that up so soon."""
    if not spaces:
        return MOST_PAUSE_SECONDS
    room = min(space.room for space in spaces.values()) - FLOOR_BYTES
    return max(LEAST_PAUSE_SECONDS, min(MOST_PAUSE_SECONDS, room / FASTEST_BYTES_A_SECOND))


def low(spaces: Spaces, line_bytes: int = FLOOR_BYTES) -> frozenset[Where]:
    return frozenset(where for where, space in spaces.items() if space.room < line_bytes)


def look(watch: Watch, seen: Measurement) -> tuple[Watch, frozenset[Where]]:
    """After a look: what is to be measured now. Nothing, where there is room, or where it is as at the last measurement."""
    wanted = low(seen.spaces)
    if not wanted:
        return Watch(last=seen), frozenset()
    last = watch.last
    if last is not None and last.held is not None and low(last.spaces) == wanted:
        changed = (
            abs(_fall(last, seen, where, unit))
            for where in wanted
            for unit in Unit
            if seen.spaces[where].room_in(unit) < FLOOR_BYTES
        )
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
    """Of those who grew on a disk that is low and falls: who holds most there. What is scarcest comes first."""
    scarcest_first = sorted(_pools(after.spaces), key=lambda pool: _room(after, pool))
    found = (_choose_of(pool, before, after, stoppable) for pool in scarcest_first)
    return next((offender for offender in found if offender is not None), None)


def _pools(spaces: Spaces) -> list[_Pool]:
    disks: dict[int, set[Where]] = {}
    for where, space in spaces.items():
        disks.setdefault(space.device, set()).add(where)
    return [_Pool(frozenset(wheres), unit) for wheres in disks.values() for unit in Unit]


def _choose_of(
    pool: _Pool, before: Measurement, after: Measurement, stoppable: AbstractSet[str]
) -> Offender | None:
    fall = max(_fall(before, after, where, pool.unit) for where in pool.wheres)
    seconds = max(after.at - before.at, 0.001)
    # What was free when the counting began is not any more: on a busy host to count takes as long as to fill what is left.
    if _room(after, pool) - fall / seconds * after.took >= LINE_BYTES or fall < STEP_BYTES:
        return None
    growth = {job: _growth(job, pool, before, after) for job in after.held or {}}
    known = {job: grown.known for job, grown in growth.items()}
    notable = _notable({job: grown for job, grown in known.items() if job in stoppable}, fall)
    if notable:
        worst = max(notable, key=lambda job: (_held(job, pool, after).worth(pool.unit), known[job], job))
        return _offender(worst, known[worst], pool, after, fall / seconds)
    if sum(known.values()) * BLAMED_PART >= fall:
        return None  # it is theirs who are ending
    likely = {job: grown.likely for job, grown in growth.items()}
    suspect = max(_notable(likely, fall), key=lambda job: (likely[job], job), default=None)
    if suspect is None or suspect not in stoppable:
        return None
    seen = _held(suspect, pool, after).fresh_worth(pool.unit)
    return replace(_offender(suspect, seen, pool, after, fall / seconds), is_sampled=True)


def _notable(grown: Mapping[str, int], fall: int) -> list[str]:
    """Who grew enough to be blamed for the fall; nobody where it is mostly somebody else's."""
    total = sum(growth for growth in grown.values() if growth > 0)
    most = max(grown.values(), default=0)
    if total * BLAMED_PART < fall or most <= 0:
        return []
    if most < TRIFLE_BYTES and total * 2 < fall:
        return []
    return [job for job, growth in grown.items() if growth > 0 and growth * NOTABLE_PART >= most]


def _growth(job: str, pool: _Pool, before: Measurement, after: Measurement) -> Growth:
    """None where nothing of him was measured before, while others were. Where nothing was measured at all, the disk fell over both
    lines between two looks, as by one fallocate.
    """
    total = Growth()
    for where, now in _held_there(job, pool, after):
        used_files = after.spaces[where].used_files
        if before.held is None:
            total += since_unmeasured(now, pool.unit, used_files)
        elif (then := before.held.get(job, {}).get(where)) is not None:
            total += between(then, now, pool.unit, used_files)
    return total


def _offender(job: str, grown: int, pool: _Pool, after: Measurement, bytes_a_second: float) -> Offender:
    room, all_held = _room(after, pool), _held(job, pool, after)
    size = INODE_BYTES if pool.unit is Unit.FILES else 1
    return Offender(
        job,
        frozenset(where for where, held in _held_there(job, pool, after) if held.worth(pool.unit) > 0),
        pool.unit,
        all_held.worth(pool.unit) // size,
        grown // size,
        room // size,
        max(0.0, min(MOST_GRACE_SECONDS, room / 2 / bytes_a_second - after.took)),
        is_sampled=not all_held.is_whole,
    )


def _held_there(job: str, pool: _Pool, measured: Measurement) -> list[tuple[Where, Held]]:
    of_job = (measured.held or {}).get(job, {})
    return [(where, held) for where, held in of_job.items() if where in pool.wheres]


def _held(job: str, pool: _Pool, measured: Measurement) -> Held:
    return sum((held for _, held in _held_there(job, pool, measured)), Held())


def _room(measured: Measurement, pool: _Pool) -> int:
    return min(measured.spaces[where].room_in(pool.unit) for where in pool.wheres)


def _fall(before: Measurement, after: Measurement, where: Where, unit: Unit) -> int:
    """0 where nothing is known of before, or it is another disk by now."""
    then, now = before.spaces.get(where), after.spaces[where]
    return then.room_in(unit) - now.room_in(unit) if then is not None and then.device == now.device else 0


def say_why(offender: Offender) -> str:
    """For the job's reason."""
    folders = {Where.OUTPUTS: "in its output folder", Where.LAYER: "in its container's own files"}
    places = " and ".join(folders[where] for where in sorted(offender.where, reverse=True))
    if offender.unit is Unit.BYTES:
        scarcity = f"the host's disk was nearly full ({_size(offender.free)} free)"
        held, grown = f"{_size(offender.held)} of it", _size(offender.grown)
    else:
        scarcity = f"the host's disk had hardly an inode left for a file ({offender.free:,} free)"
        held, grown = f"{offender.held:,} files", f"{offender.grown:,}"
    if offender.is_sampled:
        seen = f"at least {held} {places}, at least {grown} of them made or changed since just before"
        return f"{scarcity}, and the job held {seen}"
    return f"{scarcity}, and the job held {held} {places}, {grown} more than just before"


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"
