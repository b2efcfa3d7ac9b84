"""adapters/sqlite/lists — which rows a list shows: one query for each way of finding them. Makes no jobs of them."""

import sqlite3

from agent.core.job import Viewer
from agent.errors import Phase
from agent.interfaces import JobQuery

Found = list[tuple[int, int]]

UNFINISHED = "SELECT seq, version FROM jobs INDEXED BY jobs_unfinished WHERE phase <> 'finished' ORDER BY seq"
FINISHED_BEFORE = """
    SELECT id FROM jobs INDEXED BY jobs_finished
    WHERE phase = 'finished' AND finished_at < ? ORDER BY finished_at, seq LIMIT ?
"""
# What picks the rows looks at an index alone; only the rows of the page itself are read.
PAGE = """
    SELECT seq, version FROM jobs WHERE seq IN (
        SELECT jobs.seq FROM {source} WHERE {conditions} ORDER BY {order} DESC LIMIT :limit
    ) ORDER BY seq DESC
"""
HAS_LABEL = """EXISTS (
    SELECT 1 FROM labels AS had
    WHERE had.job = jobs.seq AND had.name = :label{number} AND had.value = :value{number}
)"""
LAST_CHARACTER = chr(0x10FFFF)


def unfinished(connection: sqlite3.Connection) -> Found:
    return connection.execute(UNFINISHED).fetchall()


def finished_before(connection: sqlite3.Connection, at: float, limit: int) -> list[str]:
    return [row[0] for row in connection.execute(FINISHED_BEFORE, (at, limit))]


def ids(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT id FROM jobs")}


def page(connection: sqlite3.Connection, query: JobQuery, viewer: Viewer) -> Found:
    """(seq, version) of the rows that `query` asks for and `viewer` may see, newest first."""
    conditions, values = _conditions(query, viewer)
    source, order = _source(query, viewer), "jobs.seq"
    if query.labels and not _only_unfinished(query):
        # The rarest would be best to begin with; the first is as good a guess as any without statistics.
        (name, value), *_ = query.labels
        conditions += ["labels.name = :driver_name", "labels.value = :driver_value"]
        values |= {"driver_name": name, "driver_value": value}
        if query.before_seq is not None:
            conditions.append("labels.job < :before")
        if not viewer.sees_all:
            conditions.append("labels.owner = :owner")
        order = "labels.job"
    text = PAGE.format(source=source, conditions=" AND ".join(conditions) or "TRUE", order=order)
    return connection.execute(text, values).fetchall()


def _source(query: JobQuery, viewer: Viewer) -> str:
    if _only_unfinished(query):
        return "jobs INDEXED BY jobs_unfinished"
    if query.labels:
        index = "sqlite_autoindex_labels_1" if viewer.sees_all else "labels_by_owner"
        return f"labels INDEXED BY {index} CROSS JOIN jobs ON jobs.seq = labels.job"
    return f"jobs INDEXED BY {'jobs_listed' if viewer.sees_all else 'jobs_listed_by_owner'}"


def _only_unfinished(query: JobQuery) -> bool:
    return bool(query.phases) and Phase.FINISHED not in query.phases


def _conditions(query: JobQuery, viewer: Viewer) -> tuple[list[str], dict[str, object]]:
    conditions: list[str] = []
    values: dict[str, object] = {"limit": query.limit}

    def want(condition: str, **named: object) -> None:
        conditions.append(condition)
        values.update(named)

    if not viewer.sees_all:
        want("jobs.owner = :owner", owner=viewer.principal)
    if query.before_seq is not None:
        want("jobs.seq < :before", before=query.before_seq)
    if query.phases:
        names = {f"phase{number}": str(phase) for number, phase in enumerate(query.phases)}
        want(f"jobs.phase IN ({', '.join(f':{name}' for name in names)})", **names)
    if _only_unfinished(query):
        want("jobs.phase <> 'finished'")
    if query.queue is not None:
        want("jobs.queue = :queue", queue=query.queue)
    if query.kind is not None:
        want("jobs.kind = :kind", kind=str(query.kind))
    if query.id_prefix:
        want(
            "jobs.id >= :prefix AND jobs.id < :prefix_end",
            prefix=query.id_prefix,
            prefix_end=query.id_prefix + LAST_CHARACTER,
        )
    for number, (name, value) in enumerate(query.labels):
        want(HAS_LABEL.format(number=number), **{f"label{number}": name, f"value{number}": value})
    return conditions, values
