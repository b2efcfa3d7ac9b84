"""adapters/sqlite/counts — how many jobs there are of each sort: counted by SQL, so that no job is made of a row for it. Changes nothing."""

import json
import sqlite3
from collections import Counter
from collections.abc import Collection

from agent.core.job_counts import JobCounts
from agent.errors import Phase

# A row that can't be understood is counted all the same: that it is damaged, others tell.
# A queue is any word of a principal's: only those that are asked for are told apart, or one could make ten thousand groups.
UNFINISHED = """
    SELECT phase, CASE WHEN queue IN (SELECT value FROM json_each(:queues)) THEN queue END AS known,
        CASE WHEN phase <> 'queued' THEN NULL WHEN json_valid(rest) THEN ifnull(json_extract(rest, '$.waiting_for'), '') ELSE '' END AS waits,
        count(*)
    FROM jobs INDEXED BY jobs_unfinished WHERE phase <> 'finished' GROUP BY 1, 2, 3
"""
HELD = """
    SELECT json_extract(rest, '$.lease.gpus'), json_array_length(rest, '$.lease.ports')
    FROM jobs INDEXED BY jobs_unfinished
    WHERE phase <> 'finished' AND phase IN ('starting', 'running', 'stopping') AND json_valid(rest) AND json_type(rest, '$.lease') = 'object'
"""
KEPT = "SELECT count(*) FROM jobs INDEXED BY jobs_finished WHERE phase = 'finished'"
TOTALS = "SELECT what, reason, jobs FROM totals"


def count(connection: sqlite3.Connection, queues: Collection[str]) -> JobCounts:
    unfinished: Counter[tuple[Phase, str | None]] = Counter()
    waiting: Counter[str] = Counter()
    for phase, queue, waits, jobs in connection.execute(UNFINISHED, {"queues": json.dumps(sorted(queues))}):
        unfinished[Phase(phase), queue] += jobs
        if waits is not None:
            waiting[waits] += jobs
    gpus, ports = _held(connection)
    return JobCounts(
        unfinished=unfinished,
        waiting=waiting,
        kept=connection.execute(KEPT).fetchone()[0],
        totals={(what, reason): jobs for what, reason, jobs in connection.execute(TOTALS)},
        leased_gpus=gpus,
        ports_held=ports,
    )


def _held(connection: sqlite3.Connection) -> tuple[frozenset[str], int]:
    leases = connection.execute(HELD).fetchall()
    gpus = frozenset(uuid for listed, _ in leases for uuid in json.loads(listed or "[]"))
    return gpus, sum(ports or 0 for _, ports in leases)
