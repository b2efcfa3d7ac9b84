"""adapters/sqlite/look — a database looked over without being changed: no migration, no log file made. Mends nothing."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from agent.adapters.sqlite.faults import DatabaseDamagedError, translated
from agent.adapters.sqlite.migrate import MIGRATIONS, Migration, refuse_newer, version_of
from agent.errors import Phase

_OVER = (Phase.UPLOADING.value, Phase.FINISHED.value)


def is_older(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> bool:
    """Read all of the database; a daemon may write to it meanwhile. True: sound, and the next start will migrate it.

    Blocking. Raises DatabaseDamagedError, DatabaseNewerError, StoreUnavailableError.
    """
    with _opened(path) as connection:
        refuse_newer(connection, path, migrations)
        version = version_of(connection)
        if version == 0:
            raise DatabaseDamagedError(path, "it is no database of gpu-agent")
        faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
        if faults != ["ok"]:
            raise DatabaseDamagedError(path, "; ".join(faults))
        return version < migrations[-1].number


def open_jobs(path: Path) -> frozenset[str]:
    """The jobs whose last attempt is not over, by a database that is not changed.

    Blocking. Raises DatabaseDamagedError, DatabaseNewerError, StoreUnavailableError.
    """
    with _opened(path) as connection:
        refuse_newer(connection, path, MIGRATIONS)
        rows = connection.execute("SELECT id FROM jobs WHERE phase NOT IN (?, ?)", _OVER)
        return frozenset(str(row[0]) for row in rows)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # Without a log no program has it open: SQLite would make one, even for reading, if it were not told so.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    with (
        translated(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection,
    ):
        yield connection
