"""adapters/sqlite/migrate — from the version a database has to the one we know, forward only. Changes no row's meaning."""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from agent.errors import AgentError, Blame

FILE_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """SQL that takes a database from version number - 1 to `number`."""

    number: int
    sql: str


def _read_migrations() -> tuple[Migration, ...]:
    folder = resources.files("agent.adapters.sqlite").joinpath("migrations")
    found = sorted((entry.name, entry) for entry in folder.iterdir() if FILE_NAME.fullmatch(entry.name))
    return tuple(Migration(int(name[:4]), entry.read_text("utf-8")) for name, entry in found)


MIGRATIONS = _read_migrations()


class DatabaseNewerError(AgentError):
    """A later version of this program has written the database; this one would misread it."""

    code, blame = "database_newer", Blame.HOST
    remedy = "Install the later version again, or stop the agent and put back the copy `agent.db.before-<n>` that it kept."

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"the database {path} has version {found}, this program knows versions up to {known}"
        )


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_newer(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    known = migrations[-1].number
    if (found := version_of(connection)) > known:
        raise DatabaseNewerError(path, found, known)


def migrate(connection: sqlite3.Connection, path: Path | None, migrations: Sequence[Migration]) -> None:
    """Apply what is missing, each number in a transaction of its own. `path` None: a new database, no copy is kept.

    Before the first one, `<name>.before-<number>` gets a copy. After a crash in between, the next call goes on.
    """
    missing = [migration for migration in migrations if migration.number > version_of(connection)]
    if missing and path is not None:
        _keep_copy(connection, path.with_name(f"{path.name}.before-{missing[0].number}"))
    for migration in missing:
        _apply(connection, migration)


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another program may have done it while we waited for the lock.
        if version_of(connection) < migration.number:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    # Not executescript: it would commit our transaction first.
    statements, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _keep_copy(connection: sqlite3.Connection, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch(0o600)
    with closing(sqlite3.connect(part)) as copy:
        connection.backup(copy)
    part.replace(target)
