"""adapters/sqlite/functions — the row beside each job that calls a function: whose it is, what it tells of itself. Decides nothing of it."""

import sqlite3

from agent.core.function import FunctionCall

INSERT = (
    "INSERT INTO functions (job, parent, owner, chute, version, attempt, seq) VALUES (?, ?, ?, ?, ?, 0, 0)"
)


def begin(connection: sqlite3.Connection, job_seq: int, owner: str, call: FunctionCall) -> None:
    connection.execute(INSERT, (job_seq, call.parent, owner, call.chute, call.version))
