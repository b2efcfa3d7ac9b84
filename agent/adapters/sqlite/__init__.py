"""adapters/sqlite — the rows, on SQLite. The only package that imports sqlite3; decides nothing about jobs."""

from agent.adapters.sqlite.faults import DatabaseDamagedError
from agent.adapters.sqlite.look import is_older, open_jobs
from agent.adapters.sqlite.migrate import DatabaseNewerError
from agent.adapters.sqlite.repair import is_any_there, move_aside
from agent.adapters.sqlite.store import SqliteStore

__all__ = [
    "DatabaseDamagedError",
    "DatabaseNewerError",
    "SqliteStore",
    "is_any_there",
    "is_older",
    "move_aside",
    "open_jobs",
]
