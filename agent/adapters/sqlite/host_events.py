"""adapters/sqlite/host_events — the events of the host itself, among those of jobs: appended, bounded, read. Knows no job."""

import sqlite3
from collections.abc import Sequence

from agent.adapters.sqlite.rows import dump_data, load_data
from agent.core.job import Event, NewEvent
from agent.interfaces import MOST_HOST_EVENTS

INSERT = "INSERT INTO events (at, type, data) VALUES (?, ?, ?)"
# Where there are fewer, the inner answer is null, and nothing is below that.
FORGET = """
    DELETE FROM events INDEXED BY events_of_job WHERE job IS NULL AND seq <= (
        SELECT seq FROM events INDEXED BY events_of_job WHERE job IS NULL ORDER BY seq DESC LIMIT 1 OFFSET ?
    )
"""
SELECT = """
    SELECT seq, at, type, data FROM events INDEXED BY events_of_job
    WHERE job IS NULL AND seq > ? ORDER BY seq LIMIT ?
"""


def append(connection: sqlite3.Connection, at: float, events: Sequence[NewEvent]) -> None:
    """Write them in their order; of all of the host's the newest MOST_HOST_EVENTS are kept."""
    if not events:
        return
    connection.executemany(INSERT, [(at, event.type, dump_data(event.data)) for event in events])
    connection.execute(FORGET, (MOST_HOST_EVENTS,))


def read(connection: sqlite3.Connection, after_seq: int, limit: int) -> list[Event]:
    return [
        Event(seq=seq, n=None, job=None, owner=None, at=at, type=kind, data=load_data(data))
        for seq, at, kind, data in connection.execute(SELECT, (after_seq, limit))
    ]
