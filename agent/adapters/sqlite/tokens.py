"""adapters/sqlite/tokens — token records, and the few loose values of `meta`. Compares no secret: that is the API's, in constant time."""

import json
import sqlite3

from agent.interfaces import Token

INSERT = """
    INSERT INTO tokens (id, name, principal, scopes, digest, created_at, expires_at, last_used_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
SELECT = """
    SELECT id, name, principal, scopes, digest, created_at, expires_at, last_used_at
    FROM tokens ORDER BY created_at, id
"""
SET_META = (
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def add(connection: sqlite3.Connection, token: Token) -> None:
    connection.execute(
        INSERT,
        (
            token.id,
            token.name,
            token.principal,
            json.dumps(token.scopes),
            token.digest,
            token.created_at,
            token.expires_at,
            token.last_used_at,
        ),
    )


def read_all(connection: sqlite3.Connection) -> list[Token]:
    return [
        Token(
            token_id, name, principal, tuple(json.loads(scopes)), digest, created_at, expires_at, last_used_at
        )
        for token_id, name, principal, scopes, digest, created_at, expires_at, last_used_at in connection.execute(
            SELECT
        )
    ]


def remove(connection: sqlite3.Connection, token_id: str) -> bool:
    return connection.execute("DELETE FROM tokens WHERE id = ?", (token_id,)).rowcount > 0


def mark_used(connection: sqlite3.Connection, token_id: str, at: float) -> None:
    connection.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (at, token_id))


def read_meta(connection: sqlite3.Connection, key: str) -> str | None:
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if found is None else str(found[0])


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute(SET_META, (key, value))
