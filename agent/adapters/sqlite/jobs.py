"""adapters/sqlite/jobs — writing rows: accepted, saved under their version, forgotten. Decides nothing about them."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.adapters.sqlite import events, family, functions, lists, notify, schedules
from agent.adapters.sqlite.rows import Rows, dump_closed, dump_rest, load_closed
from agent.core.job import ClosedAttempt, FiredBy, Job, NewEvent, Viewer
from agent.core.state import phase_event
from agent.errors import Phase
from agent.interfaces import (
    Accepted,
    BodyConflictError,
    FamilyCancelledError,
    Finished,
    ForeignIdError,
    NewJob,
    QueueFullError,
    StaleError,
)
from agent.spec import dump_spec, without_secrets

Changed = tuple[Job, Sequence[NewEvent]]

BY_ID = "SELECT seq, version, owner, body_digest FROM jobs WHERE id = ?"
BY_KEY = "SELECT seq, version, owner, body_digest FROM jobs WHERE owner = ? AND idempotency_key = ?"
# No more is counted than the answer needs.
COUNT_QUEUED = """
    SELECT count(*) FROM (
        SELECT 1 FROM jobs INDEXED BY jobs_queued WHERE phase = 'queued' AND owner = ? LIMIT ?
    )
"""
INSERT = """
    INSERT INTO jobs (id, version, owner, kind, phase, queue, priority, name, attempt, outcome, created_at, finished_at,
        idempotency_key, body_digest, rest, spec)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE = """
    UPDATE jobs SET version = version + 1, phase = ?, attempt = ?, outcome = ?, finished_at = ?, rest = ?
    WHERE id = ? AND version = ?
"""
INSERT_LABEL = "INSERT INTO labels (name, value, job, owner) VALUES (?, ?, ?, ?)"
# An attempt is closed once; a second close of the same number is a repetition of the first.
INSERT_ATTEMPT = "INSERT INTO attempts (job, number, closed) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
ATTEMPTS = """
    SELECT closed FROM attempts JOIN jobs ON jobs.seq = attempts.job WHERE jobs.id = ? ORDER BY attempts.number
"""


def accept(connection: sqlite3.Connection, rows: Rows, new: NewJob, most_queued: int) -> Accepted:
    firing = new.firing
    if firing is None:
        return _accept(connection, rows, new, most_queued)
    schedule = schedules.for_firing(connection, firing, new.owner)
    accepted = _accept(connection, rows, new, most_queued)
    if firing.due is not None or not accepted.is_replay:
        schedules.keep_fired(connection, schedule, firing, accepted.job)
    return accepted


def _accept(connection: sqlite3.Connection, rows: Rows, new: NewJob, most_queued: int) -> Accepted:
    earlier = connection.execute(BY_ID, (new.id,)).fetchone()
    if earlier is not None and earlier[2] != new.owner:
        raise ForeignIdError(f"there is no job {new.id}")
    if earlier is None and new.idempotency_key is not None:
        earlier = connection.execute(BY_KEY, (new.owner, new.idempotency_key)).fetchone()
    if earlier is not None:
        return Accepted(_replay(connection, rows, earlier, new.body_digest), is_replay=True)
    _refuse_after_family_cancel(connection, rows, new)
    queued = connection.execute(COUNT_QUEUED, (new.owner, most_queued)).fetchone()[0]
    if queued >= most_queued:
        raise QueueFullError(f"{most_queued} of your jobs are queued already, and more may not be")
    job = insert(connection, _first_row(new), new.idempotency_key, new.body_digest)
    # What it holds is what any other event of a phase holds: a reader needs no second form.
    told = NewEvent("job.accepted", phase_event(job, came_from=None).data)
    events.append(connection, job.seq, job.owner, job.created_at, [told])
    return Accepted(job, is_replay=False)


def read_by_key(
    connection: sqlite3.Connection, rows: Rows, key: tuple[str, str], body_digest: str
) -> Job | None:
    earlier = connection.execute(BY_KEY, key).fetchone()
    return None if earlier is None else _replay(connection, rows, earlier, body_digest)


def _replay(
    connection: sqlite3.Connection, rows: Rows, earlier: tuple[int, int, str, str], body_digest: str
) -> Job:
    if earlier[3] != body_digest:
        raise BodyConflictError("the same id or idempotency key came before with another body")
    return rows.fetch(connection, [earlier[:2]])[0]


def _refuse_after_family_cancel(connection: sqlite3.Connection, rows: Rows, new: NewJob) -> None:
    # Here, and not where it is asked for: the cancel may be written between the two.
    parent = None if new.call is None or new.call.parent is None else read(connection, rows, new.call.parent)
    if parent is not None and parent.starts_no_more:
        raise FamilyCancelledError(parent.id)


def insert(connection: sqlite3.Connection, job: Job, idempotency_key: str | None, body_digest: str) -> Job:
    """Write a row as it is, its `seq` aside. Returns it with the `seq` it got and its secrets masked."""
    spec = job.spec
    columns = (job.id, job.version, job.owner, job.kind, job.phase, spec.queue, spec.priority, spec.name)
    facts = (job.attempt, job.outcome, job.created_at, job.finished_at)
    seq = connection.execute(
        INSERT, (*columns, *facts, idempotency_key, body_digest, dump_rest(job), dump_spec(spec))
    ).lastrowid
    assert seq is not None  # noqa: S101 - an INSERT that returns has one
    connection.executemany(
        INSERT_LABEL, [(name, value, seq, job.owner) for name, value in spec.labels.items()]
    )
    if spec.notify is not None:
        notify.begin(connection, seq)
    if job.call is not None:
        functions.begin(connection, seq, job.owner, job.call)
    inserted = replace(job, seq=seq, spec=without_secrets(spec))
    schedules.begin(connection, inserted)
    return inserted


def import_row(connection: sqlite3.Connection, rows: Rows, job: Job) -> Job:
    """Insert a row that was found outside the database, in whatever phase; one that is there already stays."""
    earlier = connection.execute(BY_ID, (job.id,)).fetchone()
    if earlier is not None:
        return rows.fetch(connection, [(earlier[0], earlier[1])])[0]
    # Its body is not known: no later one can be proved the same.
    return insert(connection, job, idempotency_key=None, body_digest="")


def read(connection: sqlite3.Connection, rows: Rows, job_id: str) -> Job | None:
    found = connection.execute(BY_ID, (job_id,)).fetchone()
    return None if found is None else rows.fetch(connection, [(found[0], found[1])])[0]


def read_seen(connection: sqlite3.Connection, rows: Rows, job_id: str, viewer: Viewer) -> Job | None:
    job = read(connection, rows, job_id)
    return job if job is not None and (viewer.sees_all or job.owner == viewer.principal) else None


def save(
    connection: sqlite3.Connection,
    rows: Rows,
    changed: Changed,
    at: float,
    closed: ClosedAttempt | None = None,
) -> Job:
    """Write a row under its version, with what it tells and the attempt it closes. Raises StaleError."""
    job, told = changed
    values = (job.phase, job.attempt, job.outcome, job.finished_at, dump_rest(job), job.id, job.version)
    if connection.execute(UPDATE, values).rowcount != 1:
        raise StaleError(f"job {job.id} has no version {job.version} any more")
    if closed is not None:
        connection.execute(INSERT_ATTEMPT, (job.seq, closed.number, dump_closed(closed)))
    events.append(connection, job.seq, job.owner, at, told)
    if job.phase is Phase.FINISHED:
        rows.drop(job.seq)
    return replace(job, version=job.version + 1)


def change(
    connection: sqlite3.Connection,
    rows: Rows,
    found: tuple[str, Viewer],
    decide: Callable[[Job], Changed],
    at: float,
) -> Job | None:
    job = read_seen(connection, rows, *found)
    if job is None:
        return None
    return _write_if_changed(connection, rows, job, decide(job), at)


def change_family(
    connection: sqlite3.Connection,
    rows: Rows,
    found: tuple[str, Viewer],
    decide: Callable[[Job, Sequence[Job]], Sequence[Changed]],
    at: float,
) -> list[Job] | None:
    job = read_seen(connection, rows, *found)
    if job is None:
        return None
    below = rows.fetch(connection, family.unfinished_below(connection, job))
    before = {row.id: row for row in (job, *below)}
    return [
        _write_if_changed(connection, rows, before[changed[0].id], changed, at)
        for changed in decide(job, below)
    ]


def _write_if_changed(
    connection: sqlite3.Connection, rows: Rows, before: Job, changed: Changed, at: float
) -> Job:
    if changed[0] != before:
        return save(connection, rows, changed, at)
    events.append(connection, before.seq, before.owner, at, changed[1])
    return before


def grant(
    connection: sqlite3.Connection,
    rows: Rows,
    choose: Callable[[Sequence[Job]], Sequence[Changed]],
    at: float,
) -> list[Job]:
    chosen = choose(rows.fetch(connection, lists.unfinished(connection)))
    return [save(connection, rows, changed, at) for changed in chosen]


def attempts(connection: sqlite3.Connection, job_id: str) -> list[ClosedAttempt]:
    return [load_closed(row[0]) for row in connection.execute(ATTEMPTS, (job_id,))]


def forget(connection: sqlite3.Connection, rows: Rows, job_id: str, viewer: Viewer) -> Finished:
    job = read_seen(connection, rows, job_id, viewer)
    if job is None:
        return Finished.UNKNOWN
    if job.phase is not Phase.FINISHED:
        return Finished.NOT_FINISHED
    # Labels, attempts and events go with it (ON DELETE CASCADE).
    connection.execute("DELETE FROM jobs WHERE seq = ?", (job.seq,))
    return Finished.FORGOTTEN


def _first_row(new: NewJob) -> Job:
    not_before = new.spec.not_before
    return Job(
        id=new.id,
        owner=new.owner,
        kind=new.kind,
        spec=new.spec,
        created_at=new.created_at,
        call=new.call,
        fired_by=None if new.firing is None else FiredBy(new.firing.schedule, new.firing.due),
        queued_at=new.created_at,
        not_before=None if not_before is None else not_before.timestamp(),
        ssh_host_key=new.ssh_host_key,
    )
