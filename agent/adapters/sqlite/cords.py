"""adapters/sqlite/cords — the rows of answers that cords gave to calls that were named. Decides nothing of them."""

import json
import sqlite3

from agent.interfaces.cord_store import CordKey, KeptAnswer

READ = "SELECT digest, status, content_type, headers, body FROM cord_calls WHERE owner = ? AND chute = ? AND key = ?"
INSERT = """
    INSERT INTO cord_calls (owner, chute, key, digest, at, status, content_type, headers, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
DROP = "DELETE FROM cord_calls WHERE at < ?"
REMOVE = "DELETE FROM cord_calls WHERE owner = ? AND chute = ?"


def read(connection: sqlite3.Connection, key: CordKey) -> KeptAnswer | None:
    found = connection.execute(READ, (key.owner, key.chute, key.key)).fetchone()
    if found is None:
        return None
    digest, status, content_type, headers, body = found
    return KeptAnswer(
        digest, status, content_type, tuple((name, value) for name, value in json.loads(headers)), body
    )


def keep(connection: sqlite3.Connection, key: CordKey, answer: KeptAnswer, at: float) -> None:
    about = (answer.status, answer.content_type, json.dumps(answer.headers))
    connection.execute(INSERT, (key.owner, key.chute, key.key, answer.digest, at, *about, answer.body))


def drop(connection: sqlite3.Connection, before: float) -> None:
    connection.execute(DROP, (before,))


def remove_of_chute(connection: sqlite3.Connection, owner: str, chute: str) -> None:
    connection.execute(REMOVE, (owner, chute))
