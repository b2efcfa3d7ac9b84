"""adapters/sqlite/notify — how far each job's notifications are, and which event is the next. Decides nothing of them."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from agent.adapters.sqlite import events
from agent.adapters.sqlite.rows import dump_data, load_data
from agent.core.job import Event
from agent.core.notify import TOLD, Notice, NotifyEnd, NotifyState, NotifyTrouble, Progress
from agent.errors import Phase

TROUBLE: TypeAdapter[NotifyTrouble] = TypeAdapter(NotifyTrouble)
STATE = "notify.notified_n, notify.delivered, notify.dropped, notify.ended, notify.trouble"
TOLD_ONES = "events.type IN ({})".format(", ".join(map(repr, TOLD)))

INSERT = "INSERT INTO notify (job, notified_n, delivered, dropped) VALUES (?, 0, 0, 0)"
OPEN = """
    SELECT jobs.id FROM notify INDEXED BY notify_open JOIN jobs ON jobs.seq = notify.job
    WHERE notify.ended IS NULL ORDER BY notify.job
"""
# The events come first: few are new, and there may be many open jobs.
SINCE = f"""
    SELECT DISTINCT jobs.id FROM events NOT INDEXED CROSS JOIN notify ON notify.job = events.job
    JOIN jobs ON jobs.seq = notify.job
    WHERE events.seq > ? AND notify.ended IS NULL AND {TOLD_ONES}
"""  # noqa: S608 - constants alone
ONE = f"""
    SELECT notify.job, jobs.owner, jobs.phase, {STATE}
    FROM jobs JOIN notify ON notify.job = jobs.seq WHERE jobs.id = ? AND notify.ended IS NULL
"""  # noqa: S608 - constants alone
NEXT = f"""
    SELECT seq, n, owner, at, type, data FROM events
    WHERE job = ? AND n > ? AND {TOLD_ONES} ORDER BY n LIMIT 1
"""  # noqa: S608 - constants alone
KEEP = "UPDATE notify SET notified_n = ?, delivered = ?, dropped = ?, ended = ?, trouble = ? WHERE job = ?"
PROGRESS = f"""
    SELECT {STATE}, (
        SELECT count(*) FROM events WHERE events.job = notify.job AND events.n > notify.notified_n AND {TOLD_ONES}
    ) FROM jobs JOIN notify ON notify.job = jobs.seq WHERE jobs.id = ?
"""  # noqa: S608 - constants alone


def begin(connection: sqlite3.Connection, job_seq: int) -> None:
    connection.execute(INSERT, (job_seq,))


def read_open(connection: sqlite3.Connection) -> tuple[list[str], int]:
    return [row[0] for row in connection.execute(OPEN)], events.last_seq(connection)


def read_since(connection: sqlite3.Connection, seq: int) -> tuple[list[str], int]:
    return [row[0] for row in connection.execute(SINCE, (seq,))], events.last_seq(connection)


def read_notice(connection: sqlite3.Connection, job_id: str) -> Notice | None:
    found = connection.execute(ONE, (job_id,)).fetchone()
    if found is None:
        return None
    row, owner, phase, *columns = found
    state = _state(columns)
    event = _next_event(connection, job_id, row, state.notified_n)
    return Notice(row, owner, state, event, is_over=event is None and phase == Phase.FINISHED)


def keep(connection: sqlite3.Connection, row: int, state: NotifyState) -> None:
    trouble = None if state.trouble is None else dump_data(TROUBLE.dump_python(state.trouble, mode="json"))
    connection.execute(KEEP, (state.notified_n, state.delivered, state.dropped, state.end, trouble, row))


def read_progress(connection: sqlite3.Connection, job_ids: Sequence[str]) -> dict[str, Progress]:
    found = {job_id: connection.execute(PROGRESS, (job_id,)).fetchone() for job_id in job_ids}
    return {job_id: Progress(_state(row[:-1]), row[-1]) for job_id, row in found.items() if row is not None}


def _state(columns: Sequence[Any]) -> NotifyState:
    notified_n, delivered, dropped, ended, trouble = columns
    return NotifyState(
        notified_n,
        delivered,
        dropped,
        None if ended is None else NotifyEnd(ended),
        None if trouble is None else TROUBLE.validate_json(trouble),
    )


def _next_event(connection: sqlite3.Connection, job_id: str, row: int, after_n: int) -> Event | None:
    found = connection.execute(NEXT, (row, after_n)).fetchone()
    if found is None:
        return None
    seq, n, owner, at, kind, data = found
    return Event(seq=seq, n=n, job=job_id, owner=owner, at=at, type=kind, data=load_data(data))
