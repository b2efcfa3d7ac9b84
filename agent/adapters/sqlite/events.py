"""adapters/sqlite/events — the events of jobs: appended, numbered, read in order with the host's own. Invents none."""

import sqlite3
from collections.abc import Sequence
from operator import attrgetter

from agent.adapters.sqlite import host_events
from agent.adapters.sqlite.rows import dump_data, load_data
from agent.core.job import Event, NewEvent, Viewer

INSERT = "INSERT INTO events (job, n, owner, at, type, data) VALUES (?, ?, ?, ?, ?, ?)"
LAST_N = "SELECT n FROM events WHERE job = ? ORDER BY n DESC LIMIT 1"
SELECT = """
    SELECT events.seq, events.n, jobs.id, events.owner, events.at, events.type, events.data
    FROM events {index} JOIN jobs ON jobs.seq = events.job
    WHERE events.seq > :after {condition} ORDER BY events.seq LIMIT :limit
"""
OF_ALL = SELECT.format(index="NOT INDEXED", condition="")
OF_OWNER = SELECT.format(index="INDEXED BY events_by_owner", condition="AND events.owner = :owner")
OF_JOB = SELECT.format(index="INDEXED BY events_of_job", condition="AND events.job = :job")


def append(
    connection: sqlite3.Connection, seq: int, owner: str, at: float, events: Sequence[NewEvent]
) -> None:
    """Write events of the job with that `seq`, in their order, numbered on from its last one."""
    if not events:
        return
    last = connection.execute(LAST_N, (seq,)).fetchone()
    first = 1 if last is None else last[0] + 1
    connection.executemany(
        INSERT,
        [
            (seq, n, owner, at, event.type, dump_data(event.data))
            for n, event in enumerate(events, start=first)
        ],
    )


def append_by_id(connection: sqlite3.Connection, job_id: str, at: float, event: NewEvent) -> None:
    found = connection.execute("SELECT seq, owner FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if found is not None:
        append(connection, found[0], found[1], at, [event])


def read(
    connection: sqlite3.Connection, viewer: Viewer, after_seq: int, job_id: str | None, limit: int
) -> list[Event]:
    values: dict[str, object] = {"after": after_seq, "limit": limit, "owner": viewer.principal}
    query = OF_ALL if viewer.sees_all else OF_OWNER
    if job_id is not None:
        found = connection.execute("SELECT seq, owner FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if found is None or not (viewer.sees_all or found[1] == viewer.principal):
            return []
        query, values["job"] = OF_JOB, found[0]
    told = [
        Event(seq=seq, n=n, job=job, owner=owner, at=at, type=kind, data=load_data(data))
        for seq, n, job, owner, at, kind, data in connection.execute(query, values)
    ]
    if job_id is not None or not viewer.sees_host:
        return told
    # Each kind has an index of its own; of both together the first are among the first of each.
    return sorted([*told, *host_events.read(connection, after_seq, limit)], key=attrgetter("seq"))[:limit]


def last_seq(connection: sqlite3.Connection) -> int:
    """The last one ever given out, also if its job is forgotten. 0: none yet."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return 0 if found is None else int(found[0])
