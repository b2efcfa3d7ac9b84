"""adapters/sqlite/cords — the rows of calls of cords that were named, and of their answers. Decides nothing of them."""

import json
import sqlite3

from agent.interfaces.cord_store import BegunCall, CordCaps, CordKey, KeptAnswer

OF_KEY = "owner = ? AND chute = ? AND key = ?"
READ = f"SELECT digest, call, bytes, status, content_type, headers, body FROM cord_calls WHERE {OF_KEY}"  # noqa: S608 - constants alone
INSERT = "INSERT INTO cord_calls (owner, chute, key, digest, call, at) VALUES (?, ?, ?, ?, ?, ?)"
KEEP = f"""
    UPDATE cord_calls SET bytes = ?, status = ?, content_type = ?, headers = ?, body = ?
    WHERE {OF_KEY} AND call = ? AND bytes = 0
"""  # noqa: S608 - constants alone
FORGET_OLDEST = """
    DELETE FROM cord_calls WHERE seq IN (SELECT seq FROM cord_calls WHERE owner = ? ORDER BY at DESC, seq DESC LIMIT -1 OFFSET ?)
"""
EMPTY = "UPDATE cord_calls SET bytes = 0, status = NULL, content_type = NULL, headers = NULL, body = NULL WHERE seq IN"
# From the newest answer on, how many there are and of how many bytes.
EMPTY_OF_OWNER = f"""{EMPTY} (
    SELECT seq FROM (
        SELECT seq, row_number() OVER newest AS nth, sum(bytes) OVER newest AS total FROM cord_calls
        WHERE bytes > 0 AND owner = ? WINDOW newest AS (ORDER BY at DESC, seq DESC ROWS UNBOUNDED PRECEDING)
    ) WHERE nth > ? OR total > ?)
"""  # noqa: S608 - constants alone
EMPTY_OF_ALL = f"""{EMPTY} (
    SELECT seq FROM (
        SELECT seq, sum(bytes) OVER (ORDER BY at DESC, seq DESC ROWS UNBOUNDED PRECEDING) AS total FROM cord_calls WHERE bytes > 0
    ) WHERE total > ?)
"""  # noqa: S608 - constants alone
ALL_BYTES = "SELECT coalesce(sum(bytes), 0) FROM cord_calls WHERE bytes > 0"
DROP = "DELETE FROM cord_calls WHERE seq IN (SELECT seq FROM cord_calls WHERE at < ? LIMIT 200)"
REMOVE = "DELETE FROM cord_calls WHERE owner = ? AND chute = ?"
# What an answer costs beside its bytes, at least.
ROW_BYTES = 1 << 10


def begin(
    connection: sqlite3.Connection, key: CordKey, call: BegunCall, at: float, caps: CordCaps
) -> BegunCall:
    known = _read(connection, key)
    if known is not None:
        return known
    connection.execute(INSERT, (key.owner, key.chute, key.key, call.digest, call.id, at))
    connection.execute(FORGET_OLDEST, (key.owner, caps.calls))
    return call


def keep(
    connection: sqlite3.Connection, key: CordKey, call_id: str, answer: KeptAnswer, caps: CordCaps
) -> None:
    headers = json.dumps(answer.headers)
    size = ROW_BYTES + len(headers) + len(answer.body)
    values = (size, answer.status, answer.content_type, headers, answer.body)
    connection.execute(KEEP, (*values, key.owner, key.chute, key.key, call_id))
    connection.execute(EMPTY_OF_OWNER, (key.owner, caps.answers, caps.owner_bytes))
    if connection.execute(ALL_BYTES).fetchone()[0] > caps.all_bytes:
        connection.execute(EMPTY_OF_ALL, (caps.all_bytes,))


def drop(connection: sqlite3.Connection, before: float) -> int:
    """Some of them; how many."""
    return connection.execute(DROP, (before,)).rowcount


def remove_of_chute(connection: sqlite3.Connection, owner: str, chute: str) -> None:
    connection.execute(REMOVE, (owner, chute))


def _read(connection: sqlite3.Connection, key: CordKey) -> BegunCall | None:
    found = connection.execute(READ, (key.owner, key.chute, key.key)).fetchone()
    if found is None:
        return None
    digest, call_id, size, status, content_type, headers, body = found
    if not size:
        return BegunCall(digest, call_id)
    pairs = tuple((name, value) for name, value in json.loads(headers))
    return BegunCall(digest, call_id, KeptAnswer(status, content_type, pairs, body))
