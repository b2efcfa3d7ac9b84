"""adapters/sqlite/lists — which rows a list shows: one query for each way of finding them. Makes no jobs of them."""

import sqlite3

from agent.adapters.sqlite.where import Where
from agent.core.job import INTERNAL_KINDS, Viewer
from agent.errors import Phase
from agent.interfaces import JobQuery

Found = list[tuple[int, int]]

UNFINISHED = "SELECT seq, version FROM jobs INDEXED BY jobs_unfinished WHERE phase <> 'finished' ORDER BY seq"
FINISHED_BEFORE = """
    SELECT id FROM jobs INDEXED BY jobs_finished
    WHERE phase = 'finished' AND finished_at < ?
        AND NOT EXISTS (SELECT 1 FROM notify WHERE notify.job = jobs.seq AND notify.ended IS NULL)
        AND NOT EXISTS (SELECT 1 FROM upload_states WHERE upload_states.job = jobs.seq AND upload_states.state = 'sending')
    ORDER BY finished_at, seq LIMIT ?
"""
# What picks the rows looks at indexes alone; only the rows of the page itself are read.
PAGE = """
    SELECT seq, version FROM jobs WHERE seq IN (
        SELECT jobs.seq FROM {source} WHERE {conditions} ORDER BY {order} DESC LIMIT :limit
    ) ORDER BY seq DESC
"""
HAS_LABEL = """EXISTS (
    SELECT 1 FROM labels AS had
    WHERE had.job = jobs.seq AND had.name = :label{number} AND had.value = :value{number}
)"""
HIDES_INTERNAL = "jobs.kind NOT IN ({})".format(", ".join(f"'{kind}'" for kind in INTERNAL_KINDS))
COUNT_LABEL = """
    SELECT count(*) FROM (SELECT 1 FROM labels WHERE name = ? AND value = ? LIMIT ?)
"""
# Enough to tell a rare label from one that nearly every job has.
COUNTED = 1_000

Label = tuple[str, str]


def unfinished(connection: sqlite3.Connection) -> Found:
    return connection.execute(UNFINISHED).fetchall()


def finished_before(connection: sqlite3.Connection, at: float, limit: int) -> list[str]:
    return [row[0] for row in connection.execute(FINISHED_BEFORE, (at, limit))]


def ids(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT id FROM jobs")}


def page(connection: sqlite3.Connection, query: JobQuery, viewer: Viewer) -> Found:
    """(seq, version) of the rows that `query` asks for and `viewer` may see, newest first."""
    where = Where(query.limit)
    if query.schedule is not None:
        source, order = _walk_schedule(where, query, viewer, query.schedule), "started.job"
    elif _is_of_unfinished(query) or not query.labels:
        source, order = _walk_jobs(where, query, viewer), "jobs.seq"
    else:
        source, order = _walk_label(where, query, viewer, _rarest(connection, query.labels)), "labels.job"
    _filter(where, query)
    return connection.execute(
        PAGE.format(source=source, conditions=where.text(), order=order), where.values
    ).fetchall()


def _walk_jobs(where: Where, query: JobQuery, viewer: Viewer) -> str:
    if not viewer.sees_all:
        where.want("jobs.owner = :owner", owner=viewer.principal)
    if query.before_seq is not None:
        where.want("jobs.seq < :before", before=query.before_seq)
    if _is_of_unfinished(query):
        where.want("jobs.phase <> 'finished'")
        return "jobs INDEXED BY jobs_unfinished"
    return f"jobs INDEXED BY {'jobs_listed' if viewer.sees_all else 'jobs_listed_by_owner'}"


def _is_of_unfinished(query: JobQuery) -> bool:
    return bool(query.phases) and Phase.FINISHED not in query.phases


def _walk_label(where: Where, query: JobQuery, viewer: Viewer, label: Label) -> str:
    where.want("labels.name = :name AND labels.value = :value", name=label[0], value=label[1])
    if not viewer.sees_all:
        where.want("labels.owner = :owner", owner=viewer.principal)
    if query.before_seq is not None:
        where.want("labels.job < :before", before=query.before_seq)
    index = "" if viewer.sees_all else "INDEXED BY labels_by_owner"
    return f"labels {index} CROSS JOIN jobs INDEXED BY jobs_listed ON jobs.seq = labels.job"


def _walk_schedule(where: Where, query: JobQuery, viewer: Viewer, schedule: str) -> str:
    where.want("started.schedule = :schedule", schedule=schedule)
    if not viewer.sees_all:
        where.want("started.owner = :owner", owner=viewer.principal)
    if query.before_seq is not None:
        where.want("started.job < :before", before=query.before_seq)
    return "scheduled_jobs AS started CROSS JOIN jobs INDEXED BY jobs_listed ON jobs.seq = started.job"


def _rarest(connection: sqlite3.Connection, labels: tuple[Label, ...]) -> Label:
    def count(label: Label) -> int:
        counted: int = connection.execute(COUNT_LABEL, (*label, COUNTED)).fetchone()[0]
        return counted

    return labels[0] if len(labels) == 1 else min(labels, key=count)


def _filter(where: Where, query: JobQuery) -> None:
    if query.phases:
        names = {f"phase{number}": str(phase) for number, phase in enumerate(query.phases)}
        where.want(f"jobs.phase IN ({', '.join(f':{name}' for name in names)})", **names)
    if query.queue is not None:
        where.want("jobs.queue = :queue", queue=query.queue)
    if query.kind is not None:
        where.want("jobs.kind = :kind", kind=str(query.kind))
    else:
        where.want(HIDES_INTERNAL)
    if query.id_prefix:
        where.want_prefix("jobs.id", query.id_prefix)
    for number, (name, value) in enumerate(query.labels):
        where.want(HAS_LABEL.format(number=number), **{f"label{number}": name, f"value{number}": value})
