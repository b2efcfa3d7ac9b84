"""adapters/sqlite/family — jobs that came of one job: found from it downwards to be shown, from the unfinished upwards to be stopped. Changes none."""

import sqlite3
from typing import Any

from agent.core.family import Family, Relative
from agent.core.job import Job, Outcome, Viewer
from agent.errors import Phase

Found = list[tuple[int, int]]

# Of those that wait, the deepest is taken first, and of these the oldest: so each stands before its children, and these before its
# next sibling (sqlite.org/lang_with.html, "Controlling Depth-First Versus Breadth-First"). What is joined by CROSS keeps that order.
BELOW = """
    WITH RECURSIVE family (seq, id, depth) AS (
        SELECT seq, id, 0 FROM jobs WHERE id = :id AND (owner = :owner OR :sees_all)
        UNION ALL
        SELECT jobs.seq, jobs.id, family.depth + 1
        FROM family
        CROSS JOIN functions INDEXED BY functions_by_parent ON functions.parent = family.id
        CROSS JOIN jobs ON jobs.seq = functions.job
        WHERE functions.owner = :owner OR :sees_all
        ORDER BY 3 DESC, 1
        LIMIT :limit
    )
    SELECT jobs.id, functions.parent, family.depth, jobs.name, json_extract(jobs.rest, '$.call.function'), jobs.phase, jobs.outcome,
        json_extract(jobs.rest, '$.reason.code'), jobs.attempt, jobs.created_at, json_extract(jobs.rest, '$.started_at'),
        jobs.finished_at
    FROM family CROSS JOIN jobs ON jobs.seq = family.seq LEFT JOIN functions ON functions.job = jobs.seq
"""
# UNION, so that even rows that name each other end it. The last one that is found is the topmost.
ABOVE = """
    WITH RECURSIVE above (id, parent) AS (
        SELECT jobs.id, functions.parent FROM jobs LEFT JOIN functions ON functions.job = jobs.seq WHERE jobs.id = :id
        UNION
        SELECT jobs.id, functions.parent FROM above
        CROSS JOIN jobs ON jobs.id = above.parent
        LEFT JOIN functions ON functions.job = jobs.seq
        WHERE jobs.owner = :owner OR :sees_all
    )
    SELECT id FROM above
"""
# From below: the unfinished are few, while what a job has started, with all that is over, may be very many.
UNFINISHED_BELOW = """
    WITH RECURSIVE above (job, parent) AS (
        SELECT functions.job, functions.parent
        FROM jobs INDEXED BY jobs_unfinished CROSS JOIN functions ON functions.job = jobs.seq
        WHERE jobs.phase <> 'finished' AND functions.parent IS NOT NULL AND functions.owner = :owner
        UNION
        SELECT above.job, functions.parent FROM above
        CROSS JOIN jobs ON jobs.id = above.parent
        CROSS JOIN functions ON functions.job = jobs.seq
        WHERE functions.parent IS NOT NULL AND functions.owner = :owner
    )
    SELECT jobs.seq, jobs.version FROM above CROSS JOIN jobs ON jobs.seq = above.job
    WHERE above.parent = :id AND jobs.id <> :id ORDER BY jobs.seq
"""


def read(connection: sqlite3.Connection, job_id: str, viewer: Viewer, limit: int) -> Family | None:
    values: dict[str, object] = {"id": job_id, "owner": viewer.principal, "sees_all": viewer.sees_all}
    rows = connection.execute(BELOW, {**values, "limit": limit + 1}).fetchall()
    if not rows:
        return None
    *_, (root,) = connection.execute(ABOVE, values)
    return Family(root, tuple(_load(row) for row in rows[:limit]), is_cut=len(rows) > limit)


def unfinished_below(connection: sqlite3.Connection, job: Job) -> Found:
    """(seq, version), oldest first."""
    return connection.execute(UNFINISHED_BELOW, {"id": job.id, "owner": job.owner}).fetchall()


def _load(row: tuple[Any, ...]) -> Relative:
    job_id, parent, depth, name, function, phase, outcome, reason_code, attempt, *times = row
    ended = None if outcome is None else Outcome(outcome)
    return Relative(job_id, parent, depth, name, function, Phase(phase), ended, reason_code, attempt, *times)
