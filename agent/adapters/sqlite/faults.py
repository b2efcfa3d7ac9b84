"""adapters/sqlite/faults — what SQLite's error codes mean to us. Repairs nothing and retries nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.interfaces import StoreUnavailableError

# https://sqlite.org/rescode.html: the primary code is the low byte of the extended one.
PRIMARY_CODE = 0xFF
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# In these the connection itself is sound: it goes on, and can still read, once the cause is gone.
PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM})
BROKEN = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
)


class DatabaseDamagedError(StoreUnavailableError):
    """What lies at the database's place can't be read as our database. It is left as it is: nothing new is put there."""

    code = "database_damaged"
    remedy = "Run `gpu-agent doctor --repair`: it moves the damaged file aside and gives running jobs their rows back."

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"the database {path} is damaged: {what}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's environment errors into ours. Errors that are bugs (a constraint, wrong SQL) pass as they are."""
    try:
        yield
    except sqlite3.Error as error:
        code = primary_code(error)
        if code in DAMAGED:
            raise DatabaseDamagedError(path, str(error)) from error
        if code in PASSING or code in BROKEN:
            raise StoreUnavailableError(f"the database {path} can't be used just now: {error}") from error
        raise
    except OSError as error:
        raise StoreUnavailableError(f"the database {path} can't be used just now: {error}") from error


def is_connection_lost(error: sqlite3.Error) -> bool:
    """Whether to open anew. A disk that was full or a lock that was held leave the connection as good as before."""
    code = primary_code(error)
    return code in BROKEN or code in DAMAGED


def primary_code(error: sqlite3.Error) -> int | None:
    # Errors that Python's module raises itself carry no code.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & PRIMARY_CODE
