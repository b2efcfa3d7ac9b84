"""adapters/sqlite/functions — the rows beside each job that calls a function: whose it is, what it tells of itself. Decides nothing of it."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields

from pydantic import TypeAdapter

from agent.adapters.sqlite import events
from agent.adapters.sqlite.rows import dump_data
from agent.core.function import FunctionCall
from agent.core.metrics import Metric, Point
from agent.core.told import Progress, Told
from agent.interfaces.function_store import Telling

PROGRESS: TypeAdapter[Progress | None] = TypeAdapter(Progress | None)
METRIC: TypeAdapter[Metric] = TypeAdapter(Metric)
POINTS: TypeAdapter[list[Point]] = TypeAdapter(list[Point])
SUMMARY = {field.name for field in fields(Metric)} - {"points"}

INSERT = (
    "INSERT INTO functions (job, parent, owner, chute, version, attempt, seq) VALUES (?, ?, ?, ?, ?, 0, 0)"
)
ROW = """
    SELECT functions.job, functions.attempt, functions.seq, functions.progress, functions.statuses
    FROM jobs JOIN functions ON functions.job = jobs.seq WHERE jobs.id = ?
"""
PROGRESS_OF = """
    SELECT functions.progress FROM jobs JOIN functions ON functions.job = jobs.seq WHERE jobs.id = ?
"""
SERIES = """
    SELECT function_metrics.name, points FROM jobs JOIN function_metrics ON function_metrics.job = jobs.seq WHERE jobs.id = ?
"""
SUMMARIES = "SELECT name, summary, '[]' FROM function_metrics WHERE job = ? ORDER BY name"
METRICS = "SELECT name, summary, points FROM function_metrics WHERE job = ? ORDER BY name"
KEEP = """
    UPDATE functions SET attempt = ?, seq = ?, progress = ?, statuses = ?
    WHERE job = (SELECT seq FROM jobs WHERE id = ?) RETURNING job, owner
"""
KEEP_METRIC = """
    INSERT INTO function_metrics (job, name, summary, points) VALUES (?, ?, ?, ?)
    ON CONFLICT (job, name) DO UPDATE SET summary = excluded.summary, points = excluded.points
"""
CHILDREN = """
    SELECT jobs.id FROM functions INDEXED BY functions_by_parent JOIN jobs ON jobs.seq = functions.job
    WHERE functions.parent = ? ORDER BY functions.job
"""


def begin(connection: sqlite3.Connection, job_seq: int, owner: str, call: FunctionCall) -> None:
    connection.execute(INSERT, (job_seq, call.parent, owner, call.chute, call.version))


def read_told(connection: sqlite3.Connection, job_id: str, metrics: str = METRICS) -> Told | None:
    found = connection.execute(ROW, (job_id,)).fetchone()
    if found is None:
        return None
    row, attempt, seq, progress, statuses = found
    return Told(
        attempt,
        seq,
        _load_progress(progress),
        {} if statuses is None else json.loads(statuses),
        {
            name: METRIC.validate_json(f'{summary[:-1]},"points":{points}}}')
            for name, summary, points in connection.execute(metrics, (row,))
        },
    )


def read_told_briefly(connection: sqlite3.Connection, job_id: str) -> Told | None:
    return read_told(connection, job_id, SUMMARIES)


def read_series(connection: sqlite3.Connection, job_id: str) -> dict[str, str]:
    return dict(connection.execute(SERIES, (job_id,)))


def read_progress_of(connection: sqlite3.Connection, job_ids: Sequence[str]) -> dict[str, Progress | None]:
    found = {job_id: connection.execute(PROGRESS_OF, (job_id,)).fetchone() for job_id in job_ids}
    return {job_id: _load_progress(row[0]) for job_id, row in found.items() if row is not None}


def keep_told(connection: sqlite3.Connection, tellings: Sequence[Telling], at: float) -> None:
    for telling in tellings:
        progress = dump_data(PROGRESS.dump_python(telling.progress, mode="json"))
        values = (telling.attempt, telling.seq, progress, dump_data(dict(telling.statuses)), telling.job_id)
        kept = connection.execute(KEEP, values).fetchone()
        if kept is None:
            continue
        row, owner = kept
        connection.executemany(
            KEEP_METRIC, [(row, name, *_dump(metric)) for name, metric in telling.metrics.items()]
        )
        events.append(connection, row, owner, at, telling.events)


def read_children(connection: sqlite3.Connection, job_ids: Sequence[str]) -> dict[str, list[str]]:
    return {job_id: [row[0] for row in connection.execute(CHILDREN, (job_id,))] for job_id in job_ids}


def _load_progress(text: str | None) -> Progress | None:
    return None if text is None else PROGRESS.validate_json(text)


def _dump(metric: Metric) -> tuple[str, str]:
    summary = dump_data(METRIC.dump_python(metric, mode="json", include=SUMMARY))
    # A job may change sixty thousand points at once, and this thread is everybody's: the standard library takes six times as long.
    return summary, POINTS.dump_json(metric.points).decode()
