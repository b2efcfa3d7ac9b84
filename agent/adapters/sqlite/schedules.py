"""adapters/sqlite/schedules — the rows of schedules: added, changed, found, made those of a chute. Decides nothing: `core/schedule` does."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import TypeAdapter

from agent.adapters.sqlite import events
from agent.adapters.sqlite.rows import dump_data
from agent.adapters.sqlite.where import Where
from agent.core.chute import MOST_SCHEDULES, Version
from agent.core.job import Job, NewEvent, Viewer
from agent.core.schedule import (
    Firing,
    OfContainer,
    OfFunction,
    Schedule,
    ScheduleTrouble,
    Started,
    Timed,
    fire,
    of_version,
)
from agent.interfaces import (
    NoSuchScheduleError,
    ScheduleNameTakenError,
    ScheduleQuery,
    StaleError,
    TooManySchedulesError,
)

COLUMNS = "seq, id, version, owner, name, cron, since, paused, rest, spec"
SELECT = f"SELECT {COLUMNS} FROM schedules"  # noqa: S608 - constants alone
BY_ID = f"{SELECT} WHERE id = ?"
BY_NAME = "SELECT 1 FROM schedules WHERE owner = ? AND name = ?"
OF_CHUTE = f"{SELECT} WHERE owner = ? AND chute = ? ORDER BY seq"
COUNT = "SELECT count(*) FROM schedules WHERE owner = ?"
COUNT_OTHERS = "SELECT count(*) FROM schedules WHERE owner = ? AND chute IS NOT ?"
TIMED = "SELECT id, owner, cron, since FROM schedules INDEXED BY schedules_timed WHERE paused = 0"
# Without the specs: two hundred of a megabyte each would be the daemon's memory.
IN_LIST = COLUMNS.replace("spec", "NULL")
PAGE = f"SELECT {IN_LIST} FROM schedules WHERE {{conditions}} ORDER BY seq DESC LIMIT :limit"  # noqa: S608 - as above
WITH_FILES = "SELECT id FROM schedules WHERE chute IS NULL"
INSERT = """
    INSERT INTO schedules (id, version, owner, name, chute, cron, since, paused, rest, spec)
    VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE = "UPDATE schedules SET version = version + 1, cron = ?, since = ?, paused = ?, rest = ? WHERE seq = ?"
DELETE = "DELETE FROM schedules WHERE id = ?"
DELETE_OF_CHUTE = "DELETE FROM schedules WHERE owner = ? AND chute = ?"
OWN_OR_OTHERS = """
    name = :name AND (owner = :owner OR NOT EXISTS (SELECT 1 FROM schedules AS own WHERE own.owner = :owner AND own.name = :name))
"""
# From the unfinished: they are few, while what a schedule has started may be very many.
UNFINISHED = """
    SELECT jobs.id FROM jobs INDEXED BY jobs_unfinished CROSS JOIN scheduled_jobs ON scheduled_jobs.job = jobs.seq
    WHERE jobs.phase <> 'finished' AND scheduled_jobs.schedule = ? ORDER BY jobs.seq LIMIT 1
"""
INSERT_JOB = "INSERT INTO scheduled_jobs (schedule, job, owner) VALUES (?, ?, ?)"

Decide = Callable[[Schedule], tuple[Schedule, Mapping[str, NewEvent]]]


@dataclass(frozen=True, slots=True)
class Rest:
    """The fields of a schedule that are no column. A missing key is the default, an unknown one is ignored."""

    created_at: float
    seed: str
    function: OfFunction | None = None
    catch_up: bool = False
    last: Started | None = None
    fired: int = 0
    skipped: int = 0
    missed: int = 0
    trouble: ScheduleTrouble | None = None
    told_job: str | None = None


REST: TypeAdapter[Rest] = TypeAdapter(Rest)
REST_FIELDS = tuple(item.name for item in fields(Rest) if item.name != "function")


def add(connection: sqlite3.Connection, schedule: Schedule) -> Schedule:
    if connection.execute(BY_NAME, (schedule.owner, schedule.name)).fetchone() is not None:
        raise ScheduleNameTakenError(schedule.name)
    if connection.execute(COUNT, (schedule.owner,)).fetchone()[0] >= MOST_SCHEDULES:
        raise TooManySchedulesError
    return _insert(connection, schedule)


def read(connection: sqlite3.Connection, schedule_id: str, viewer: Viewer) -> Schedule | None:
    found = connection.execute(BY_ID, (schedule_id,)).fetchone()
    schedule = None if found is None else _load(found)
    return schedule if schedule is not None and _sees(viewer, schedule) else None


def page(connection: sqlite3.Connection, query: ScheduleQuery, viewer: Viewer) -> list[Schedule]:
    where = Where(query.limit)
    if not viewer.sees_all:
        where.want("owner = :owner", owner=viewer.principal)
    if query.name is not None:
        where.want(OWN_OR_OTHERS, name=query.name, owner=viewer.principal)
    if query.id_prefix is not None:
        where.want_prefix("id", query.id_prefix)
    if query.before_seq is not None:
        where.want("seq < :before", before=query.before_seq)
    return _all(connection.execute(PAGE.format(conditions=where.text()), where.values))


def read_timed(connection: sqlite3.Connection) -> list[Timed]:
    return [Timed(*row) for row in connection.execute(TIMED)]


def change(
    connection: sqlite3.Connection, found: tuple[str, Viewer], decide: Decide, at: float
) -> Schedule | None:
    schedule = read(connection, *found)
    if schedule is None:
        return None
    changed, told = decide(schedule)
    for job_id, event in told.items():
        events.append_by_id(connection, job_id, at, event)
    return schedule if changed == schedule else _update(connection, changed)


def remove(connection: sqlite3.Connection, schedule_id: str, viewer: Viewer) -> bool:
    if read(connection, schedule_id, viewer) is None:
        return False
    connection.execute(DELETE, (schedule_id,))
    return True


def unfinished(connection: sqlite3.Connection, schedule_id: str) -> str | None:
    found = connection.execute(UNFINISHED, (schedule_id,)).fetchone()
    return None if found is None else str(found[0])


def ids(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute(WITH_FILES)}


def count_others(connection: sqlite3.Connection, owner: str, chute: str | None) -> int:
    """How many the owner has but those of this chute."""
    counted: int = connection.execute(COUNT_OTHERS, (owner, chute)).fetchone()[0]
    return counted


def follow(connection: sqlite3.Connection, version: Version, at: float) -> None:
    """Make the chute's schedules those of this version, which is its current one from now on."""
    before = _all(connection.execute(OF_CHUTE, (version.owner, version.chute)))
    after = list(of_version(version, before, at))
    known = {each.id: each for each in before}
    for gone in known.keys() - {each.id for each in after}:
        connection.execute(DELETE, (gone,))
    for schedule in after:
        if schedule.id not in known:
            _insert(connection, schedule)
        elif schedule != known[schedule.id]:
            _update(connection, schedule)


def remove_of_chute(connection: sqlite3.Connection, owner: str, chute: str) -> None:
    connection.execute(DELETE_OF_CHUTE, (owner, chute))


def for_firing(connection: sqlite3.Connection, firing: Firing, owner: str) -> Schedule:
    """The row that fires. Raises StaleError where it is not the one that was looked at, NoSuchScheduleError where there is none."""
    schedule = read(connection, firing.schedule, Viewer(owner))
    if schedule is None:
        raise NoSuchScheduleError(firing.schedule)
    is_same = (schedule.seq, schedule.version) == (firing.seq, firing.version)
    if firing.due is not None and (schedule.paused or not is_same):
        raise StaleError(f"the schedule {schedule.id} is not as it was")
    return schedule


def keep_fired(connection: sqlite3.Connection, schedule: Schedule, firing: Firing, job: Job) -> None:
    """In the transaction of its job."""
    _update(connection, fire(schedule, firing, job.id, job.created_at))


def begin(connection: sqlite3.Connection, job: Job) -> None:
    """Beside the row of a job that a schedule has started."""
    if job.fired_by is not None:
        connection.execute(INSERT_JOB, (job.fired_by.schedule, job.seq, job.owner))


def _insert(connection: sqlite3.Connection, schedule: Schedule) -> Schedule:
    what = schedule.what
    chute, spec = (what.chute, None) if isinstance(what, OfFunction) else (None, dump_data(what.spec))
    facts = (schedule.cron, schedule.since, schedule.paused, _rest(schedule), spec)
    seq = connection.execute(INSERT, (schedule.id, schedule.owner, schedule.name, chute, *facts)).lastrowid
    assert seq is not None  # noqa: S101 - an INSERT that returns has one
    return replace(schedule, seq=seq, version=0)


def _update(connection: sqlite3.Connection, schedule: Schedule) -> Schedule:
    values = (schedule.cron, schedule.since, schedule.paused, _rest(schedule), schedule.seq)
    connection.execute(UPDATE, values)
    return replace(schedule, version=schedule.version + 1)


def _sees(viewer: Viewer, schedule: Schedule) -> bool:
    return viewer.sees_all or schedule.owner == viewer.principal


def _all(rows: Iterable[tuple[Any, ...]]) -> list[Schedule]:
    return [_load(row) for row in rows]


def _rest(schedule: Schedule) -> str:
    function = schedule.what if isinstance(schedule.what, OfFunction) else None
    rest = Rest(function=function, **{name: getattr(schedule, name) for name in REST_FIELDS})
    return dump_data(REST.dump_python(rest, mode="json"))


def _load(row: tuple[Any, ...]) -> Schedule:
    seq, schedule_id, version, owner, name, cron, since, paused, rest, spec = row
    facts = REST.validate_json(rest)
    return Schedule(
        id=schedule_id,
        owner=owner,
        name=name,
        what=facts.function or OfContainer(None if spec is None else json.loads(spec)),
        cron=cron,
        since=since,
        paused=bool(paused),
        seq=seq,
        version=version,
        **{name: getattr(facts, name) for name in REST_FIELDS},
    )
