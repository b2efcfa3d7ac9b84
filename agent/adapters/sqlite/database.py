"""adapters/sqlite/database — one connection: opened, checked, given transactions, opened anew. Knows no table."""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from agent.adapters.sqlite.faults import DatabaseDamagedError, is_connection_lost, translated
from agent.adapters.sqlite.migrate import MIGRATIONS, migrate, refuse_newer, version_of
from agent.interfaces import StoreUnavailableError

T = TypeVar("T")

# Enough to outwait another program's transaction (`gpu-agent token`, a backup), short enough for an API call.
BUSY_SECONDS = 5.0
# A full check reads the whole file; past this size it would cost seconds at each start, and `doctor` does it instead.
CHECKED_AT_OPEN_BYTES = 32 << 20
PRAGMAS = (
    "PRAGMA synchronous = FULL",  # an answered job is on disk: one fsync a transaction
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",  # a full disk must not stop a sort
    "PRAGMA cache_size = -8192",  # KiB
    "PRAGMA journal_size_limit = 16777216",
)


class Database:
    """One connection. All calls come from the one thread that called `open`.

    Raises StoreUnavailableError, and its kind DatabaseDamagedError, from all but `close`; after either, a later call
    tries again with a new connection where the old one is of no use.
    """

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect, check and migrate; make the database where there is none.

        Raises DatabaseNewerError too.
        """
        with translated(self._path):
            if not self._path.exists():
                _create(self._path)
            connection = self._connect()
            if self._path.stat().st_size <= CHECKED_AT_OPEN_BYTES:
                _check(connection, self._path)
            migrate(connection, self._path, MIGRATIONS)

    def check(self) -> None:
        """Read all of it, whatever its size. Raises DatabaseDamagedError."""
        with translated(self._path):
            _check(self._connect(), self._path)

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # the WAL is then left for the next open: nothing is lost
                self._connection.close()
        self._connection = None

    def read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """Call `ask` on one snapshot."""
        return self._transact("BEGIN", ask)

    def write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Call `act` in one transaction, on disk when this returns. Whatever it raises, nothing of it is written."""
        return self._transact("BEGIN IMMEDIATE", act)

    def _transact(self, begin: str, act: Callable[[sqlite3.Connection], T]) -> T:
        with translated(self._path):
            connection = self._connect()
            try:
                connection.execute(begin)
                result = act(connection)
                connection.execute("COMMIT")
            except BaseException as error:
                self._undo(connection)
                if isinstance(error, sqlite3.Error) and is_connection_lost(error):
                    self.close()
                raise
            return result

    def _undo(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # What can't be rolled back ends with its connection.
            self.close()

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(self._path, self._busy_seconds)
        return self._connection


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    # SQLite would quietly open for reading only, and stay so after the disk is writable again.
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreUnavailableError(f"the database {path} can't be written: its file system is read-only")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",  # never creates
        timeout=busy_seconds,
        isolation_level=None,
        uri=True,
        cached_statements=256,
    )
    try:
        # Before anything that writes.
        _refuse_strange(connection, path)
        for pragma in PRAGMAS:
            connection.execute(pragma)
        # An answer other than wal comes with an exception on any file that lies on a disk.
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_strange(connection: sqlite3.Connection, path: Path) -> None:
    # A file that was cut to nothing looks like a new database to SQLite.
    if version_of(connection) == 0:
        raise DatabaseDamagedError(path, "it is no database of gpu-agent")
    refuse_newer(connection, path)


def _create(path: Path) -> None:
    """Put a complete, empty database in place in one step, so that an empty file there is always damage."""
    if path.with_name(f"{path.name}-wal").exists():
        raise DatabaseDamagedError(path, "its write-ahead log is there, the database is not")
    image = _blank()
    descriptor, made = tempfile.mkstemp(prefix=f"{path.name}.new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        # Not a rename: another program may have made it meanwhile, and that one stays.
        with suppress(FileExistsError):
            Path(path).hardlink_to(made)
        _sync_folder(path.parent)
    finally:
        Path(made).unlink()


def _blank() -> bytes:
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(memory, None, MIGRATIONS)
        return memory.serialize()
    finally:
        memory.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    # quick_check answers one row "ok", or a row a fault: https://sqlite.org/pragma.html#pragma_quick_check
    faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    if faults != ["ok"]:
        raise DatabaseDamagedError(path, "; ".join(faults))
