"""adapters/sqlite/gpus — the health of each GPU, as text that somebody else reads. Judges none."""

import sqlite3
from collections.abc import Mapping

SELECT = "SELECT uuid, health FROM gpus"
UPSERT = (
    "INSERT INTO gpus (uuid, health) VALUES (?, ?) ON CONFLICT (uuid) DO UPDATE SET health = excluded.health"
)


def read_all(connection: sqlite3.Connection) -> dict[str, str]:
    return {str(uuid): str(health) for uuid, health in connection.execute(SELECT)}


def keep(connection: sqlite3.Connection, healths: Mapping[str, str]) -> None:
    connection.executemany(UPSERT, list(healths.items()))
